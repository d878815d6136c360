// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// parallelTurns is how many calls change interfaces at a time. The kernel does
	// one such change after the other, on the whole machine; more threads than keep
	// it busy only wait, and each for the longer.
	parallelTurns = 8
	// waitingTurns is how many more may wait to connect. Whoever comes then is
	// refused at once.
	waitingTurns = 256
	// parallelDeletes is how many requests to delete interfaces may wait for the
	// kernel, which answers late. Each takes all interfaces that are there to be
	// deleted by then.
	parallelDeletes = 4
)

// turns bounds how much is under way at once.
type turns struct {
	slots   chan struct{}
	waiting *atomic.Int64
}

func newTurns() turns {
	return turns{slots: make(chan struct{}, parallelTurns), waiting: &atomic.Int64{}}
}

// take waits for a turn; nothing has happened when it fails. What makes more of
// the kernel's state may be refused, what takes of it never is.
func (t turns) take(ctx context.Context, makes bool) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	if waiting := t.waiting.Add(1); makes && waiting > waitingTurns {
		t.waiting.Add(-1)
		return ErrBusy
	}
	defer t.waiting.Add(-1)
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a turn behind %d others: %w", t.waiting.Load()-1, ctx.Err())
	}
}

func (t turns) end() { <-t.slots }

// deletes gathers interfaces to be deleted: the kernel takes about as long for
// many as for one.
type deletes struct {
	mu      sync.Mutex
	running int
	queue   []deletion
}

type deletion struct {
	indices []int
	done    chan<- error
}

// add deletes interfaces; the channel tells when the kernel has answered.
func (d *deletes) add(s *Stitcher, indices []int) <-chan error {
	done := make(chan error, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, deletion{indices, done})
	if d.running < parallelDeletes {
		d.running++
		s.work.Go(func() { d.run(s) })
	}
	return done
}

func (d *deletes) run(s *Stitcher) {
	for {
		d.mu.Lock()
		batch := d.queue
		d.queue = nil
		if len(batch) == 0 {
			d.running--
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		host, err := s.handles.get()
		if err == nil {
			err = deleteAll(host, batch)
			s.handles.put(host)
		}
		if err != nil {
			for _, one := range batch {
				one.done <- err
			}
		}
	}
}

// deleteAll deletes a batch at once; when that fails, one after the other, so that
// each knows its own error. An error is of them all.
func deleteAll(host *nl.Handle, batch []deletion) error {
	var all []int
	for _, one := range batch {
		all = append(all, one.indices...)
	}
	err := host.DeleteLinks(all...)
	if err != nil && len(batch) == 1 {
		return err
	}
	for _, one := range batch {
		if err == nil {
			one.done <- nil
			continue
		}
		one.done <- host.DeleteLinks(one.indices...)
	}
	return nil
}
