// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// Connect makes a leg, or brings an existing one to what is wanted now. When
// it fails, everything is as before.
//
// With EndpointBringsUp the leg is used when its endpoint has set its
// interface up; the client's only leg is used at once.
func (s *Stitcher) Connect(ctx context.Context, want Leg) error {
	if err := want.validate(); err != nil {
		return fmt.Errorf("connect %s: %w", want.ID, err)
	}
	if err := s.connect(ctx, want); err != nil {
		return fmt.Errorf("connect %s: %w", want.ID, err)
	}
	return nil
}

func (s *Stitcher) connect(ctx context.Context, want Leg) error {
	client, cookie, err := openSide(want.Client)
	if err != nil {
		return sideError("client", err)
	}
	defer func() { _ = client.Close() }()
	endpoint, endpointCookie, err := openSide(want.Endpoint)
	if err != nil {
		return sideError("endpoint", err)
	}
	defer func() { _ = endpoint.Close() }()
	key := portKey{cookie: cookie, name: want.Client.Interface}
	if err := s.leaveOther(ctx, want.ID, key); err != nil {
		return err
	}
	host, err := s.handles.get()
	if err != nil {
		return err
	}
	defer s.handles.put(host)
	p, err := s.take(ctx, key)
	if err != nil {
		return err
	}
	defer s.release(p)

	c := connecting{
		s: s, p: p, host: host, tx: &tx{hook: s.opts.hook},
		inClient: client, inEndpoint: endpoint, endpointCookie: endpointCookie,
	}
	return c.tx.end(c.run(ctx, want))
}

// leaveOther removes the leg from the client port that it had before: its
// workload's namespace has been replaced, or the interface's name.
func (s *Stitcher) leaveOther(ctx context.Context, id string, key portKey) error {
	s.mu.Lock()
	old := s.legs[id]
	s.mu.Unlock()
	if old == nil || old.key == key {
		return nil
	}
	return s.Disconnect(ctx, id)
}

// take returns the locked port of a key, new if there is none.
func (s *Stitcher) take(ctx context.Context, key portKey) (*port, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		p := s.ports[key]
		if p == nil {
			p = newPort(key)
			s.ports[key] = p
		}
		s.mu.Unlock()
		if err := p.lock(ctx); err != nil {
			return nil, err
		}
		if !p.dead {
			return p, nil
		}
		p.unlock()
	}
}

// release unlocks a port and forgets it when it has no leg.
func (s *Stitcher) release(p *port) {
	if len(p.legs) == 0 && !p.dead {
		p.dead = true
		s.mu.Lock()
		delete(s.ports, p.key)
		s.mu.Unlock()
	}
	p.unlock()
}

// connecting is one call of Connect, with the port locked.
type connecting struct {
	s  *Stitcher
	p  *port
	tx *tx

	host, inClient, inEndpoint *nl.Handle
	endpointCookie             uint64
}

func (c *connecting) run(ctx context.Context, want Leg) error {
	l, known := c.p.legs[want.ID]
	if !known {
		l = &leg{}
		c.p.legs[want.ID] = l
		c.s.own(want.ID, c.p)
		c.tx.revert(func() error {
			delete(c.p.legs, want.ID)
			c.s.disown(want.ID)
			return nil
		})
	}
	restore(c.tx, l)
	l.want, l.withdrawn = want, false
	if err := c.client(want.Client); err != nil {
		return sideError("client", err)
	}
	if err := c.endpoint(l); err != nil {
		return sideError("endpoint", err)
	}
	// Before the endpoint sees carrier and starts to send.
	c.settle(ctx)
	if err := c.raise(l); err != nil {
		return err
	}
	return c.s.writeSet(c.tx, c.p)
}

const (
	settlePause = 100 * time.Microsecond
	settleLimit = 100 * time.Millisecond
)

// settle waits until packets to the client's new addresses are delivered. It
// has mostly happened already; a kernel that takes its time is no error.
func (c *connecting) settle(ctx context.Context) {
	unsure := c.p.client.in.unsure
	c.p.client.in.unsure = nil
	if !c.p.carrier {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	tick := time.NewTicker(settlePause)
	defer tick.Stop()
	for _, addr := range unsure {
		for {
			if ready, err := c.inClient.Delivers(addr); ready || err != nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// client makes the workload's interface carry the union of all legs.
func (c *connecting) client(side Side) error {
	p, inside := c.p, c.inClient
	want := union(p.clientSides())
	fresh, err := c.clientVeth(side, want)
	if err != nil {
		return err
	}
	if side.MAC != nil && string(side.MAC) != string(p.client.in.mac) {
		return fmt.Errorf("%s has MAC %s, not %s: %w", side.Interface, p.client.in.mac, side.MAC, ErrMACConflict)
	}
	p.client.in.path = side.NetNS
	if !fresh {
		if err := c.tx.setMTU(c.host, inside, &p.client, want.mtu); err != nil {
			return err
		}
	}
	return c.s.configure(c.tx, inside, &p.client, want, fresh, true)
}

// clientVeth makes the client's interface unless it exists.
func (c *connecting) clientVeth(side Side, want config) (fresh bool, err error) {
	p, inside := c.p, c.inClient
	if p.client.outer != 0 {
		link, err := inside.LinkByIndex(p.client.in.index)
		if err == nil && link.Name == p.client.in.name {
			return false, nil
		}
		if err != nil && !errors.Is(err, nl.ErrNotFound) {
			return false, err
		}
		// Removed from within the workload, and the event is still to come.
		if err := c.s.forget(&p.client); err != nil {
			return false, err
		}
		p.set = nil
	}
	mac := side.MAC
	if mac == nil {
		mac = p.client.in.mac // re-created: the same as before
	}
	id := fmt.Sprintf("%s%d/%s", clientAlias, p.key.cookie, side.Interface)
	p.client.in.cookie = p.key.cookie
	err = c.s.veth(c.tx, c.host, &p.client, nl.Veth{
		Name: outerName("wc-", p.key.cookie, side.Interface), Alias: id, NoLinkLocal: true,
		PeerName: side.Interface, PeerAlias: id, PeerMAC: mac, MTU: want.mtu,
		PeerNetNS: side.NetNS, PeerHandle: inside,
	})
	if err != nil {
		return false, err
	}
	// Rules and blackholes outlive an interface; so a re-created one is not
	// fresh.
	return len(p.client.in.tables) == 0, c.open()
}

// open lets frames into and out of a new client interface. The inner end comes
// up last: the end that finds its peer up can send at once, the other one only
// when the kernel gets round to it (linkwatch), and until then drops silently.
func (c *connecting) open() error {
	p := c.p
	outer, index := p.client.outer, p.client.in.index
	c.s.ownIndex(c.tx, outer, p)
	restore(c.tx, &p.carrier)
	restore(c.tx, &p.set)
	p.set = nil
	if err := c.tx.must("write client port", func() error { return c.s.xc.SetClient(outer, nil) }, nil); err != nil {
		return err
	}
	for _, l := range p.legs { // of the interface's former life
		if l.endpoint.outer == 0 {
			continue
		}
		if err := c.point(l); err != nil {
			return err
		}
	}
	if err := c.tx.must("client port up", func() error { return c.host.SetUp(outer) }, nil); err != nil {
		return err
	}
	err := c.tx.must("client interface up", func() error { return c.inClient.SetUp(index) }, nil)
	if err != nil {
		return err
	}
	p.carrier, err = c.s.look(c.host, &p.client)
	return err
}

// point makes an endpoint port lead to the present client port.
func (c *connecting) point(l *leg) error {
	return c.tx.must("write endpoint port",
		func() error { return c.s.xc.SetEndpoint(l.endpoint.outer, c.p.client.outer, c.p.client.in.mark()) }, nil)
}

// raise sets the outer ends of the port's legs up, so that their endpoints see
// carrier when the client's interface has it.
func (c *connecting) raise(changed *leg) error {
	for _, l := range c.p.legs {
		if err := c.raiseLeg(l); err != nil {
			return err
		}
	}
	carrier, err := c.s.look(c.host, &changed.endpoint)
	changed.carrier = carrier
	return err
}

func (c *connecting) raiseLeg(l *leg) error {
	outer := l.endpoint.outer
	if outer == 0 || l.up || !c.p.carrier {
		return nil
	}
	restore(c.tx, &l.up)
	err := c.tx.must("endpoint port up",
		func() error { return c.host.SetUp(outer) },
		func() error { return c.host.SetDown(outer) })
	if err != nil {
		return err
	}
	l.up = true
	return nil
}
