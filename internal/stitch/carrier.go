// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"

	"github.com/weft-project/weft/internal/nl"
)

// event is called for every change of a link of the node. It only wakes the
// port, which then looks for itself: by the time it has its turn, the event
// may be old news.
func (s *Stitcher) event(e nl.LinkEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.depart(e)
	p := s.byIndex[e.Link.Index]
	if p == nil || s.closed {
		return
	}
	s.wake(p)
}

// wake makes a port look for itself. The caller holds the lock.
func (s *Stitcher) wake(p *port) {
	if !s.closed && p.pending.CompareAndSwap(false, true) {
		s.work.Go(func() { s.refresh(p) })
	}
}

// refresh brings the port to the present carrier of its links.
func (s *Stitcher) refresh(p *port) {
	if err := p.lock(context.Background()); err != nil {
		return
	}
	defer s.release(p)
	p.pending.Store(false) // before looking: a later event looks again
	if p.dead || s.isClosed() {
		return
	}
	host, err := s.handles.get()
	if err == nil {
		err = s.follow(host, p)
		s.handles.put(host)
	}
	if err != nil {
		s.log.Error("follow carrier", "iface", p.String(), "err", err)
	}
}

func (s *Stitcher) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Stitcher) follow(host *nl.Handle, p *port) error {
	before := p.carrier
	var err error
	if s.switchTunnel(&p.client) {
		for _, l := range p.legs {
			if err := s.xc.SetEndpointBehind(l.endpoint.outer, p.client.tunnel.Tunnel); err != nil {
				return err
			}
		}
	}
	if p.carrier, err = s.look(host, &p.client); err != nil {
		return err
	}
	if !p.client.exists() {
		p.set = nil
	}
	var errs []error
	for _, id := range p.ids() {
		errs = append(errs, s.followLeg(host, p, p.legs[id]))
	}
	t := &tx{}
	errs = append(errs, t.end(s.writeSet(t, p)))
	if p.carrier && (!before || !p.client.configured) && p.client.tunnel == nil && (!p.client.adopted || !p.inherits()) {
		errs = append(errs, s.reconfigure(&p.client, p.want()))
	}
	s.tell(p)
	return errors.Join(errs...)
}

// followLeg passes the client's carrier on to the leg's endpoint and notes
// the endpoint's.
func (s *Stitcher) followLeg(host *nl.Handle, p *port, l *leg) error {
	carrier, err := s.look(host, &l.endpoint)
	if err != nil {
		return err
	}
	rose := carrier && !l.carrier
	l.carrier = carrier
	if l.endpoint.outer == 0 { // gone, or on another node, which is told
		l.up = l.endpoint.tunnel != nil && p.carrier
		return nil
	}
	switch {
	case p.carrier && !l.up:
		err = host.SetUp(l.endpoint.outer)
	case !p.carrier && l.up:
		err = host.SetDown(l.endpoint.outer)
	}
	if err != nil {
		return err
	}
	l.up = p.carrier
	if !l.adopted && (rose || carrier && !l.endpoint.configured) {
		return s.reconfigure(&l.endpoint, union([]Side{l.want.Endpoint}))
	}
	return nil
}

// look returns the carrier of an outer end, and forgets one that is gone.
func (s *Stitcher) look(host *nl.Handle, e *end) (carrier bool, err error) {
	if e.tunnel != nil {
		return s.farCarrier(e), nil
	}
	if e.outer == 0 {
		return false, nil
	}
	link, err := host.LinkByIndex(e.outer)
	if errors.Is(err, nl.ErrNotFound) {
		return false, s.forget(e)
	}
	if err != nil {
		return false, err
	}
	if link.CarrierDowns != e.downs {
		// Whoever looks first, the kernel has dropped routes and IPv6 addresses,
		// also when carrier is back already.
		e.downs, e.configured = link.CarrierDowns, false
	}
	return link.Carrier, nil
}

// reconfigure puts back what the kernel has dropped while a link was down,
// and adds the routes that have waited for it.
func (s *Stitcher) reconfigure(e *end, want config) error {
	return s.within(e, func(inside *nl.Handle) error {
		t := &tx{}
		return t.end(s.configure(t, inside, e, want, false, false))
	})
}
