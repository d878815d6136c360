// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

// Withdraw stops sending the client's frames to a leg; the other direction
// and the interfaces stay. Connect takes it back. An unknown leg is no error.
func (s *Stitcher) Withdraw(ctx context.Context, id string) error {
	return s.withLeg(ctx, "withdraw", id, func(host *nl.Handle, p *port, l *leg) error {
		t := &tx{hook: s.opts.hook}
		restore(t, &l.withdrawn)
		l.withdrawn = true
		t.after(func() { s.tell(p) })
		return t.end(s.writeSet(t, p))
	})
}

// Lose says that the endpoint of a leg does not answer: the client's frames take
// the other legs, if there are any. Connect takes it back. An unknown leg is no
// error.
func (s *Stitcher) Lose(ctx context.Context, id string) error {
	return s.withLeg(ctx, "lose", id, func(host *nl.Handle, p *port, l *leg) error {
		t := &tx{hook: s.opts.hook}
		restore(t, &l.lost)
		l.lost = true
		t.after(func() { s.tell(p) })
		return t.end(s.writeSet(t, p))
	})
}

// Vacate takes the addresses that are the leg's alone off the client's
// interface, so that the endpoint can give them to others; vacated says that they
// are off. What the leg forwards for VIPs goes on. Of an unknown leg, an adopted
// one, and one whose client is on another node nothing is known.
func (s *Stitcher) Vacate(ctx context.Context, id string) (vacated bool, err error) {
	err = s.withLeg(ctx, "vacate", id, func(host *nl.Handle, p *port, l *leg) error {
		if p.client.tunnel != nil || l.adopted {
			return nil
		}
		before, inherited := l.vacated, p.inherited
		l.vacated = true
		if inherited != nil {
			rest := *inherited
			rest.addresses = slices.DeleteFunc(slices.Clone(rest.addresses), func(a netip.Prefix) bool {
				return slices.Contains(l.want.Client.Addresses, a) && l.want.Client.leases(a)
			})
			p.inherited = &rest
		}
		if err := sideError("client", s.shrink(host, p)); err != nil {
			l.vacated, p.inherited = before, inherited
			return err
		}
		vacated = true
		return nil
	})
	return vacated, err
}

// Disconnect removes a leg, and the client's interface with its last leg. It
// succeeds also when the namespaces or interfaces are gone. An unknown leg is
// no error. After an error the leg is withdrawn and can be disconnected again.
func (s *Stitcher) Disconnect(ctx context.Context, id string) error {
	return s.DisconnectIn(ctx, id, "")
}

// DisconnectIn is Disconnect for a client whose namespace is at another path
// than at the last Connect: that one may have gone with a descriptor. When the
// path leads elsewhere, the namespace counts as gone.
func (s *Stitcher) DisconnectIn(ctx context.Context, id, clientNetNS string) error {
	if p, _ := s.find(id); p == nil {
		return s.removeStray(id)
	}
	return s.withLeg(ctx, "disconnect", id, func(host *nl.Handle, p *port, l *leg) error {
		l.withdrawn = true
		if clientNetNS != "" && p.client.tunnel == nil {
			p.client.in.path = clientNetNS
		}
		t := &tx{hook: s.opts.hook}
		if err := t.end(s.writeSet(t, p)); err != nil {
			return err
		}
		if err := s.drop(host, p, l.want.ID); err != nil {
			return err
		}
		s.ReleaseVNI(id)
		return nil
	})
}

// drop takes a leg out of its port.
func (s *Stitcher) drop(host *nl.Handle, p *port, id string) error {
	l := p.legs[id]
	delete(p.legs, id)
	inherited := p.inherited
	if !p.inherits() {
		p.inherited = nil
	}
	if err := s.removeLeg(host, p, l); err != nil {
		p.legs[id], p.inherited = l, inherited
		return err
	}
	s.disown(id)
	return nil
}

// removeLeg removes what the other legs of the port do not need. Source
// addresses and policies go before the interfaces, so that nothing is left of
// them in the namespaces.
func (s *Stitcher) removeLeg(host *nl.Handle, p *port, l *leg) error {
	ends := []*end{&l.endpoint}
	if len(p.legs) == 0 {
		ends = append(ends, &p.client)
		if err := sideError("client", s.clear(&p.client)); err != nil {
			return err
		}
	} else if err := sideError("client", s.shrink(host, p)); err != nil {
		return err
	}
	if err := sideError("endpoint", s.clear(&l.endpoint)); err != nil {
		return err
	}
	if s.opts.hook != nil {
		if err := s.opts.hook("delete veth"); err != nil {
			return err
		}
	}
	return s.remove(ends...)
}

// shrink brings the client's interface to what its remaining legs want.
func (s *Stitcher) shrink(host *nl.Handle, p *port) error {
	want := p.want()
	return s.within(&p.client, func(inside *nl.Handle) error {
		t := &tx{hook: s.opts.hook}
		err := t.setMTU(host, inside, &p.client, want.mtu)
		if err == nil {
			err = s.configure(t, inside, &p.client, want, false, false)
		}
		return t.end(err)
	})
}

// clear removes what would outlive an interface in its namespace: rules and
// the blackholes of their tables. The addresses go first.
func (s *Stitcher) clear(e *end) error {
	if len(e.in.tables) == 0 && !e.adopted {
		return nil
	}
	err := s.within(e, func(inside *nl.Handle) error {
		t := &tx{hook: s.opts.hook}
		empty := union(nil)
		return t.end(s.configure(t, inside, e, empty, false, false))
	})
	if err != nil {
		return err
	}
	// The namespace or the interface may be gone; then so are the tables.
	lease := tableLease{set: &s.tables, cookie: e.in.cookie}
	for from, table := range e.in.tables {
		lease.release(table)
		delete(e.in.tables, from)
	}
	return nil
}

// within calls fn with a handle in the namespace of an end, unless that
// namespace is gone.
func (s *Stitcher) within(e *end, fn func(inside *nl.Handle) error) error {
	if e.tunnel != nil || e.in.cookie == 0 {
		return nil // on another node, or adopted and nobody has led the way yet
	}
	inside, err := e.in.enter()
	if errors.Is(err, ErrNoNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = inside.Close() }()
	return fn(inside)
}

// find returns the port of a leg, and the ID that it has there.
func (s *Stitcher) find(id string) (*port, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.legs[id]; p != nil {
		return p, id
	}
	adopted := ownerOf(id).String()
	return s.legs[adopted], adopted
}

// withLeg calls fn with the leg's port locked.
func (s *Stitcher) withLeg(ctx context.Context, what, id string, fn func(*nl.Handle, *port, *leg) error) error {
	p, id := s.find(id)
	if p == nil {
		return nil
	}
	if err := p.lock(ctx); err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	defer s.release(p)
	l := p.legs[id]
	if l == nil {
		return nil // meanwhile disconnected
	}
	if err := s.turns.take(ctx, false); err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	defer s.turns.end()
	host, err := s.handles.get()
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	defer s.handles.put(host)
	if err := fn(host, p, l); err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	return nil
}
