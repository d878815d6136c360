// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/packet"
)

// Engine works off events. All it holds belongs to the goroutine in Run, so that
// nothing is locked while it sends; only the counters are shared.
type Engine struct {
	cfg     Config
	errors  bucket
	held    hold
	waiting bool // what Fragments was told last

	mu       sync.Mutex // guards everything below, never held across a call
	counters Counters
	traffic  map[uint16]Traffic
}

// New makes an engine.
func New(c Config) (*Engine, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("slow path: %w", err)
	}
	c = c.withDefaults()
	return &Engine{
		cfg: c, errors: newBucket(c.ErrorRate, c.ErrorBurst), held: newHold(c), traffic: make(map[uint16]Traffic),
	}, nil
}

// Run works off the events, until they or the context end; then it drops what it
// holds. At most one Run at a time.
func (e *Engine) Run(ctx context.Context, events <-chan Event) {
	defer e.giveUp()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events:
			if !ok {
				return
			}
			e.handle(ev, time.Now())
		case <-timer.C:
		}
		// Also without the timer, which has to be lucky while events rush in.
		e.expire(time.Now())
		if _, until, ok := e.held.next(); ok {
			timer.Reset(time.Until(until))
		} else {
			timer.Stop()
		}
	}
}

func (e *Engine) handle(ev Event, now time.Time) {
	switch ev.Kind {
	case TimeExceeded, TooBig:
		e.blame(ev, now)
	case Fragment:
		e.cut(ev)
	case Park:
		e.park(ev, now)
	case Release:
		e.release(ev.Key)
	default:
		e.count(&e.counters.Malformed)
	}
}

// network returns the frame from its network header on, if that is what the link
// layer leads to.
func (ev *Event) network() ([]byte, bool) {
	at := 12
	for at+6 <= len(ev.Frame) {
		proto := binary.BigEndian.Uint16(ev.Frame[at:])
		if proto != packet.EtherVLAN && proto != packet.EtherQinQ {
			break
		}
		at += 4
	}
	if ev.L3 != at+2 || at+2 >= len(ev.Frame) {
		return nil, false
	}
	b := ev.Frame[ev.L3:]
	switch binary.BigEndian.Uint16(ev.Frame[at:]) {
	case packet.EtherIPv4:
		return b, b[0]>>4 == 4
	case packet.EtherIPv6:
		return b, b[0]>>4 == 6
	}
	return nil, false
}

// packet returns the IP packet in the frame, which is all there.
func (ev *Event) packet() ([]byte, bool) {
	b, ok := ev.network()
	if !ok || ev.Length > len(ev.Frame) {
		return nil, false
	}
	p, err := packet.Network(b)
	return p, err == nil
}

// send sends a frame and counts it if it was not taken.
func (e *Engine) send(ifindex int, frame []byte) bool {
	if err := e.cfg.Sender.Send(ifindex, frame); err != nil {
		e.count(&e.counters.SendErrors)
		return false
	}
	return true
}
