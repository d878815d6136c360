// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"time"

	"github.com/weft-project/weft/internal/packet"
)

// park sends a later fragment, or holds it until its first one has been seen.
// It waits before it looks, so that no first fragment goes unnoticed in between.
func (e *Engine) park(ev Event, now time.Time) {
	if _, ok := ev.packet(); !ok {
		e.count(&e.counters.Malformed)
		return
	}
	defer e.settle()
	e.expire(now) // makes room
	e.wait(true)
	f := fragment{key: ev.Key, frame: ev.Frame, l3: ev.L3}
	if verdict, ok := e.cfg.Fragments.Lookup(ev.Key); ok {
		e.deliverHeld(ev.Key, verdict) // they came before it
		e.deliver(f, verdict)
	} else if !e.held.add(f, now) {
		e.count(&e.counters.Refused)
	}
}

// release sends what is held of a packet if it is known where it goes.
func (e *Engine) release(key FragmentKey) {
	if len(e.held.byKey[key]) == 0 {
		return
	}
	if verdict, ok := e.cfg.Fragments.Lookup(key); ok {
		e.deliverHeld(key, verdict)
		e.settle()
	}
}

// expire drops what has been held for its time, unless its Release was lost.
func (e *Engine) expire(now time.Time) {
	for {
		key, until, ok := e.held.next()
		if !ok || until.After(now) {
			break
		}
		if verdict, ok := e.cfg.Fragments.Lookup(key); ok {
			e.deliverHeld(key, verdict)
			continue
		}
		e.held.dropFirst()
		e.count(&e.counters.Expired)
	}
	e.settle()
}

// giveUp drops everything.
func (e *Engine) giveUp() {
	for e.held.len() > 0 {
		e.held.dropFirst()
		e.count(&e.counters.Expired)
	}
	e.settle()
}

// settle shows how many are held and stops waiting when there are none.
func (e *Engine) settle() {
	e.mu.Lock()
	e.counters.Held = uint64(e.held.len())
	e.mu.Unlock()
	if e.held.len() == 0 {
		e.wait(false)
	}
}

func (e *Engine) wait(on bool) {
	if e.waiting != on {
		e.cfg.Fragments.SetWaiting(on)
		e.waiting = on
	}
}

func (e *Engine) deliverHeld(key FragmentKey, verdict FragmentVerdict) {
	for _, f := range e.held.take(key) {
		e.count(&e.counters.Released)
		e.deliver(f, verdict)
	}
}

// deliver does to a later fragment what was done to the first one.
func (e *Engine) deliver(f fragment, verdict FragmentVerdict) {
	p, err := packet.Network(f.frame[f.l3:])
	switch {
	case err != nil:
		e.count(&e.counters.Malformed) // was checked as it came
	case verdict.Drop:
		e.count(&e.counters.Dropped)
	case verdict.Echo:
		e.echo(f, p)
	default:
		e.forward(f, p, verdict.Target)
	}
}
