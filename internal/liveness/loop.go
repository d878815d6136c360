// SPDX-License-Identifier: Apache-2.0

package liveness

import "time"

// idle is how long the loop sleeps when nothing is to come.
const idle = time.Hour

// run does everything that has its time.
func (l *Liveness) run() {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		timer.Reset(l.step())
		select {
		case <-l.stop:
			return
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// step does what is due and returns how long there is nothing more to do.
func (l *Liveness) step() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	next := now.Add(idle)
	for _, p := range l.peers {
		if len(p.tunnels) == 0 && now.Sub(p.idleSince) >= linger {
			l.forgetPeer(p)
			continue
		}
		// Probes that are nearly due go along, so that those of all nodes come
		// to share their wakes.
		if p.next.Sub(now) <= p.slack {
			l.probe(p)
		}
		next = earlier(next, p.next)
	}
	next = earlier(next, l.exchange(now))
	return max(0, time.Until(next))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (l *Liveness) wakeUp() { signal(l.wake) }

// signal never blocks: one signal that was not taken yet is enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// refresh puts the tunnel on the list of changed ones if its carrier is another
// one than was told last.
func (l *Liveness) refresh(t *tunnel) {
	c := t.carrier()
	if c == t.told {
		return
	}
	t.told = c
	if !t.changed {
		t.changed = true
		l.changed = append(l.changed, t)
		signal(l.news)
	}
}

// tell calls Changed, without the lock and not from the loop: probes must go out
// however long it takes.
func (l *Liveness) tell() {
	for {
		select {
		case <-l.stop:
			return
		case <-l.news:
		}
		for t := l.nextChanged(); t != nil; t = l.nextChanged() {
			l.opts.Changed(t.Tunnel.Tunnel)
		}
	}
}

// nextChanged returns nil when no call is due.
func (l *Liveness) nextChanged() *tunnel {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.changed) > 0 && !l.closed {
		t := l.changed[0]
		l.changed = l.changed[1:]
		t.changed = false
		if !t.left {
			return t
		}
	}
	return nil
}
