// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"

	"github.com/weft-project/weft/internal/nl"
)

// remove deletes interfaces, all at once, with what the data path has of them.
func (s *Stitcher) remove(ends ...*end) error {
	var indices []int
	for _, e := range ends {
		if e.outer != 0 {
			indices = append(indices, e.outer)
		}
	}
	if err := s.deleteLinks(indices); err != nil {
		return err
	}
	var errs []error
	for _, e := range ends {
		if e.outer != 0 {
			errs = append(errs, s.forget(e))
		}
		if e.tunnel != nil {
			errs = append(errs, s.leave(e))
		}
	}
	return errors.Join(errs...)
}

// departure is interfaces that are being deleted.
type departure struct {
	left int // that are still there
	gone chan struct{}
}

// deleteLinks returns when the interfaces are gone, from all namespaces. That
// takes 1 ms; the kernel answers the request 20 ms later, when it has waited for
// all who may still look at them. Only Close waits for that.
func (s *Stitcher) deleteLinks(indices []int) error {
	if len(indices) == 0 {
		return nil
	}
	d := &departure{left: len(indices), gone: make(chan struct{})}
	s.mu.Lock()
	for _, index := range indices {
		s.departures[index] = d
	}
	s.mu.Unlock()
	deleted := s.deletes.add(s, indices)
	var err error
	select {
	case <-d.gone:
	case err = <-deleted: // it failed, or some were gone before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, index := range indices {
		delete(s.departures, index)
	}
	return err
}

// depart notes that an interface is gone. The caller holds the lock.
func (s *Stitcher) depart(e nl.LinkEvent) {
	d := s.departures[e.Link.Index]
	if !e.Gone || d == nil {
		return
	}
	delete(s.departures, e.Link.Index)
	if d.left--; d.left == 0 {
		close(d.gone)
	}
}

// forget drops what the data path knows of an interface that is gone.
func (s *Stitcher) forget(e *end) error {
	outer := e.outer
	e.outer = 0
	s.mu.Lock()
	delete(s.byIndex, outer)
	s.mu.Unlock()
	if err := s.xc.Delete(outer); err != nil {
		return fmt.Errorf("forget %s: %w", e.outerName, err)
	}
	return nil
}
