// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// collectLater removes after the grace period what nobody has claimed.
func (s *Stitcher) collectLater(ctx context.Context) {
	if s.opts.PinDir == "" {
		return
	}
	s.work.Go(func() {
		timer := time.NewTimer(s.opts.Grace)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			if err := s.Collect(ctx); err != nil {
				s.log.Error("collect what nobody claims", "err", err)
			}
		}
	})
}

// Collect removes adopted legs that no Connect has claimed, and interfaces that
// belong to none.
func (s *Stitcher) Collect(ctx context.Context) error {
	host, err := s.handles.get()
	if err != nil {
		return err
	}
	defer s.handles.put(host)
	s.mu.Lock()
	ports := slices.Collect(maps.Values(s.ports))
	s.mu.Unlock()
	var errs []error
	for _, p := range ports {
		if err := p.lock(ctx); err != nil {
			return err
		}
		errs = append(errs, s.collect(host, p))
		s.release(p)
	}
	return errors.Join(append(errs, s.collectStrays(host), s.remotes.Prune())...)
}

func (s *Stitcher) collect(host *nl.Handle, p *port) error {
	var errs []error
	for _, id := range p.ids() {
		if l := p.legs[id]; l.adopted {
			s.log.Info("removing what nobody claims", "conn", id, "iface", p.String())
			if err := s.drop(host, p, id); err != nil {
				errs = append(errs, fmt.Errorf("remove leg %s: %w", id, err))
			}
		}
	}
	if p.client.exists() && len(p.legs) == 0 {
		errs = append(errs, s.clear(&p.client), s.remove(&p.client))
	} else {
		t := &tx{}
		errs = append(errs, t.end(s.writeSet(t, p)))
	}
	return errors.Join(errs...)
}

// collectStrays removes interfaces that an earlier process had not yet put into
// a port, or already taken out of one.
func (s *Stitcher) collectStrays(host *nl.Handle) error {
	links, err := host.Links()
	if err != nil {
		return err
	}
	var strays []int
	var errs []error
	for _, link := range links {
		if ours(link) && outerPrefix(link.Name) && s.ownerOf(link.Index) == nil {
			strays = append(strays, link.Index)
			errs = append(errs, s.clearStray(link))
		}
	}
	return errors.Join(append(errs, s.deleteLinks(strays))...)
}

// removeStray removes the endpoint's interface of a leg that an earlier process
// had not yet put into a port, or whose client was gone when this one started.
func (s *Stitcher) removeStray(id string) error {
	if s.opts.PinDir == "" {
		return nil // nothing of an earlier process was adopted
	}
	host, err := s.handles.get()
	if err != nil {
		return err
	}
	defer s.handles.put(host)
	links, err := host.Links()
	if err != nil {
		return err
	}
	var strays []int
	for _, link := range links {
		if ours(link) && outerPrefix(link.Name) && link.Alias == endpointAlias+id && s.ownerOf(link.Index) == nil {
			strays = append(strays, link.Index)
		}
	}
	return s.deleteLinks(strays)
}

// clearStray removes what would outlive a client's interface, unless another one
// has taken its place.
func (s *Stitcher) clearStray(link nl.Link) error {
	cookie, name, ok := parseClient(link.Alias)
	if !ok {
		return nil
	}
	s.mu.Lock()
	taken := s.ports[portKey{cookie: cookie, name: name}] != nil
	s.mu.Unlock()
	if taken {
		return nil
	}
	e := adoptedEnd(link)
	e.in.cookie, e.in.name = cookie, name
	return s.clear(&e)
}
