// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// DefaultGrace is how long a balancer waits for the targets of its predecessor.
const DefaultGrace = 5 * time.Second

// LossGrace is how long it still waits when the predecessor sends traffic to a
// leg that does not work any more: to wait costs the flows of that leg, not to
// wait those of all targets that have not come back.
const LossGrace = time.Second

// takeOverPause is the pause between attempts to take over that failed.
const takeOverPause = 100 * time.Millisecond

// Succession is a data plane that may have found a predecessor, which works on
// until TakeOver. A data plane that is none never has.
type Succession interface {
	// Predecessor says whether one works, and which links it has its reply
	// program on.
	Predecessor() (legs []int, works bool, err error)
	// TakeOver may be called again after an error.
	TakeOver() error
}

// succession is the wait for the targets of a predecessor. The balancer's lock
// guards it.
type succession struct {
	plane Succession
	legs  map[int]bool // links of the predecessor; whether they have been seen working
	until time.Time    // zero before Succeed
}

// startSuccession finds out whether there is a predecessor.
func (b *Balancer) startSuccession() error {
	plane, ok := b.dp.(Succession)
	if !ok {
		return nil
	}
	legs, works, err := plane.Predecessor()
	if err != nil || !works {
		return err
	}
	b.succession = &succession{plane: plane, legs: map[int]bool{}}
	for _, index := range legs {
		b.succession.legs[index] = false
	}
	return nil
}

// Succeed begins to wait for the targets of the predecessor, if there is one: it
// is to be called when they can come, and the configuration is in force. Until
// then the predecessor works on, whatever happens. The wait ends when every leg
// that it had, and that still works, is registered and up and all tables are in
// force; at the latest after grace (0: DefaultGrace).
func (b *Balancer) Succeed(grace time.Duration) {
	if grace <= 0 {
		grace = DefaultGrace
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.succession; s != nil && s.until.IsZero() {
		s.until = time.Now().Add(grace)
		b.notify()
	}
}

// followPredecessor notes what becomes of a link that the predecessor sends
// traffic to. The caller holds the lock.
func (b *Balancer) followPredecessor(link nl.Link, gone bool) {
	s := b.succession
	if s == nil {
		return
	}
	worked, expected := s.legs[link.Index]
	switch {
	case !expected:
	case !gone && link.Up && link.Carrier:
		s.legs[link.Index] = true
	default:
		delete(s.legs, link.Index)
		if soon := time.Now().Add(LossGrace); worked && soon.Before(s.until) {
			s.until = soon
		}
		b.notify()
	}
}

// succeed takes over from the predecessor when everything that it served has
// come back, or the wait is over.
func (b *Balancer) succeed(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := b.Changed()
		ready, wait := b.ready()
		if ready {
			if err := b.succession.plane.TakeOver(); err == nil {
				break
			} else {
				b.log.Warn("the predecessor goes on", "err", err)
			}
			changed, wait = nil, takeOverPause
		}
		timer.Reset(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.succession = nil
	b.notify()
}

// ready says whether to take over now; if not, how long to wait at most.
func (b *Balancer) ready() (now bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.succession
	if s.until.IsZero() {
		return false, lastPause
	}
	if wait = time.Until(s.until); wait <= 0 {
		b.log.Warn("take over without all targets of the predecessor", "missing", len(b.missing()))
		return true, 0
	}
	if len(b.missing()) > 0 {
		return false, wait
	}
	for range b.dirty() {
		return false, wait
	}
	return true, 0
}

// missing returns the links of the predecessor that no working leg has. The
// caller holds the lock.
func (b *Balancer) missing() []int {
	working := map[int]bool{}
	for _, l := range b.legs {
		if l.up {
			working[l.index] = true
		}
	}
	var missing []int
	for index := range b.succession.legs {
		if !working[index] {
			missing = append(missing, index)
		}
	}
	return missing
}
