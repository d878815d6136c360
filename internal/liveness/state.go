// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"time"

	"github.com/weft-project/weft/internal/liveness/frame"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// Repetitions of a state without ack: after firstRetry, doubling to lastRetry.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// carrier is the state of an end.
type carrier uint8

const (
	carrierUnknown carrier = iota
	carrierDown
	carrierUp
)

func carrierOf(up bool) carrier {
	if up {
		return carrierUp
	}
	return carrierDown
}

func (c carrier) String() string { return [...]string{"unknown", "down", "up"}[c] }

// tunnel is a joined tunnel.
type tunnel struct {
	stitch.Tunnel
	peer         *peer // nil: it does not signal
	left         bool
	ours, theirs carrier
	told         carrier // what Changed was called for, or is about to be
	changed      bool    // is in Liveness.changed

	heard   uint64 // nonce of their newest state
	ack     uint64 // nonce to acknowledge, 0: none
	nonce   uint64 // of our newest state
	pending bool   // which is not acknowledged
	asking  uint64 // the first nonce that asks for theirs, as all since; 0: none
	fresh   bool   // and is to be sent now
	urgent  bool   // is in Liveness.urgent

	attempts int
	due      time.Time // of the next repetition
	retry    int       // index in Liveness.retries, or notWaiting
}

// carrier is what Carrier returns.
func (t *tunnel) carrier() carrier {
	switch {
	case t.peer == nil:
		return carrierUp
	case t.peer.prober.status == dead:
		return carrierDown
	case t.peer.prober.status == unheard:
		return carrierUnknown // their frames reach us, but do ours reach them?
	}
	return t.theirs
}

// announce makes a new state of the tunnel, which is sent as soon as may be and
// until it is acknowledged.
func (l *Liveness) announce(t *tunnel) {
	t.nonce = l.nextNonce()
	t.pending = true
	l.resume(t)
}

// resume sends the pending state now.
func (l *Liveness) resume(t *tunnel) {
	t.attempts = 0
	l.retries.remove(t)
	if t.peer.prober.status != dead { // else it waits for the node's return
		t.fresh = true
		l.hasten(t)
	}
}

// hasten lets the loop look at the tunnel.
func (l *Liveness) hasten(t *tunnel) {
	if !t.urgent {
		t.urgent = true
		l.urgent = append(l.urgent, t)
	}
}

// control takes a frame of another node's process.
func (l *Liveness) control(c xconnect.Control) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Tunnel.Remote = c.Tunnel.Remote.Unmap()
	t, ok := l.tunnels[c.Tunnel]
	if !ok || t.peer == nil {
		return
	}
	switch c.Type {
	case xconnect.ControlState:
		l.hear(t, frame.Flags(c.Flags), c.Nonce)
	case xconnect.ControlStateAck:
		l.acknowledged(t, c.Nonce)
	}
	l.expedite(t.peer)
	l.wakeUp()
}

// acknowledged takes an ack. One of an earlier state says that a question was
// heard, too. (If it took one of the newest state, two sides that ask at once and
// answer with a new state, which asks, would never come to an end.)
func (l *Liveness) acknowledged(t *tunnel, nonce uint64) {
	if t.asking != 0 && nonce >= t.asking {
		t.asking = 0
	}
	if nonce == t.nonce {
		t.pending, t.fresh = false, false
		l.retries.remove(t)
	}
}

// ask makes a new state that asks for theirs.
func (l *Liveness) ask(t *tunnel) {
	l.announce(t)
	t.asking = t.nonce
}

// hear takes a state.
func (l *Liveness) hear(t *tunnel, flags frame.Flags, nonce uint64) {
	switch t.peer.boots.order(nonce) {
	case past:
		l.stats.stale++
		return
	case switched:
		for _, other := range t.peer.tunnels {
			other.heard = 0
		}
	}
	if nonce < t.heard {
		l.stats.stale++
		return // its sender has sent another one and waits for that one's ack
	}
	t.ack = nonce
	l.hasten(t)
	if nonce == t.heard {
		return // again, because our ack was lost
	}
	t.heard = nonce
	l.stats.heard++
	if flags&frame.Unknown == 0 {
		t.theirs = carrierOf(flags&frame.Up != 0)
		l.refresh(t)
	}
	if flags&frame.Ask != 0 && t.ours != carrierUnknown {
		l.announce(t)
	}
}

// exchange sends what is to be sent now and returns when there is more.
func (l *Liveness) exchange(now time.Time) (next time.Time) {
	for len(l.urgent) > 0 && l.pace.may(now) {
		t := l.urgent[0]
		l.urgent = l.urgent[1:]
		t.urgent = false
		if t.left {
			continue
		}
		if t.ack != 0 {
			l.pace.count()
			l.stats.acks++
			_ = l.send(t.peer, frame.Frame{VNI: t.VNI, Type: frame.StateAck, Nonce: t.ack}) // lost is lost
			t.ack = 0
		}
		if t.fresh && t.peer.prober.status != dead {
			l.sendState(t, now)
		}
		t.fresh = false
	}
	for len(l.retries) > 0 && !now.Before(l.retries[0].due) && l.pace.may(now) {
		t := l.retries[0]
		l.retries.remove(t)
		if t.peer.prober.status != dead {
			l.stats.repeated++
			l.sendState(t, now)
		}
	}
	switch {
	case len(l.urgent) > 0:
		return l.pace.next()
	case len(l.retries) == 0:
		return now.Add(idle)
	case !l.pace.may(now) && l.retries[0].due.Before(l.pace.next()):
		return l.pace.next()
	}
	return l.retries[0].due
}

// sendState sends the tunnel's pending state, which then waits for its ack. That
// it cannot be sent is as if it were lost.
func (l *Liveness) sendState(t *tunnel, now time.Time) {
	l.pace.count()
	l.stats.states++
	_ = l.send(t.peer, t.state())
	t.due = now.Add(min(firstRetry<<min(t.attempts, 10), lastRetry))
	t.attempts++
	l.retries.add(t)
}

// state is the tunnel's newest state.
func (t *tunnel) state() frame.Frame {
	f := frame.Frame{VNI: t.VNI, Type: frame.State, Nonce: t.nonce}
	switch t.ours {
	case carrierUnknown:
		f.Flags |= frame.Unknown
	case carrierUp:
		f.Flags |= frame.Up
	}
	if t.asking != 0 {
		f.Flags |= frame.Ask
	}
	return f
}

// farewell tells the other side that our end is no more. Nobody will hear an ack,
// so it is said once.
func (l *Liveness) farewell(t *tunnel) {
	if t.peer == nil || t.ours != carrierUp || t.peer.prober.status == dead {
		return
	}
	l.stats.states++
	_ = l.send(t.peer, frame.Frame{VNI: t.VNI, Type: frame.State, Nonce: l.nextNonce()})
}
