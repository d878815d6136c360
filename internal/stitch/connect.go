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
	c := s.connecting(want.ID)
	defer c.close()
	key, err := c.open(want)
	if err != nil {
		return err
	}
	if err := s.leaveOther(ctx, want.ID, key); err != nil {
		return err
	}
	if c.host, err = s.handles.get(); err != nil {
		return err
	}
	defer s.handles.put(c.host)
	if c.p, err = s.take(ctx, key); err != nil {
		return err
	}
	defer s.release(c.p)
	if err := s.turns.take(ctx, true); err != nil {
		return err
	}
	defer s.turns.end()
	return c.tx.end(c.run(ctx, want))
}

func (s *Stitcher) connecting(id string) *connecting {
	return &connecting{s: s, tx: &tx{hook: s.opts.hook}, owner: ownerOf(id)}
}

// open opens the namespaces of the sides on this node.
func (c *connecting) open(want Leg) (key portKey, err error) {
	if want.Client.Tunnel != nil {
		key.far = c.owner
	} else if c.inClient, key.cookie, err = openSide(want.Client); err != nil {
		return key, sideError("client", err)
	} else {
		key.name = want.Client.Interface
	}
	if want.Endpoint.Tunnel == nil {
		if c.inEndpoint, c.endpointCookie, err = openSide(want.Endpoint); err != nil {
			return key, sideError("endpoint", err)
		}
	}
	return key, nil
}

func (c *connecting) close() {
	for _, h := range []*nl.Handle{c.inClient, c.inEndpoint} {
		if h != nil {
			_ = h.Close()
		}
	}
}

// leaveOther removes the leg from the client port that it had before: its
// workload's namespace has been replaced, or the interface's name.
func (s *Stitcher) leaveOther(ctx context.Context, id string, key portKey) error {
	old, id := s.find(id)
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
	if len(p.legs) == 0 && !p.dead && !p.client.exists() {
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

	host                 *nl.Handle
	inClient, inEndpoint *nl.Handle // nil: on another node
	owner                owner
	endpointCookie       uint64
}

func (c *connecting) run(ctx context.Context, want Leg) error {
	return c.bring(ctx, c.leg(want), want)
}

// rewrite is run for a leg that is connected, of whose entries nothing is taken
// for granted.
func (c *connecting) rewrite(ctx context.Context, want Leg) error {
	l := c.leg(want)
	if l.endpoint.exists() && c.p.client.exists() {
		if err := c.point(l); err != nil {
			return err
		}
	}
	return c.bring(ctx, l, want)
}

func (c *connecting) bring(ctx context.Context, l *leg, want Leg) error {
	if err := sideError("client", c.client(want.Client)); err != nil {
		return err
	}
	if err := sideError("endpoint", c.endpoint(l)); err != nil {
		return err
	}
	// Before the endpoint sees carrier and starts to send.
	c.settle(ctx)
	if err := c.raise(l); err != nil {
		return err
	}
	if err := c.s.writeSet(c.tx, c.p); err != nil {
		return err
	}
	c.tx.after(func() { c.s.tell(c.p) })
	return nil
}

// leg returns the leg of an ID, known, adopted or new, with its new wishes.
func (c *connecting) leg(want Leg) *leg {
	p := c.p
	l, known := p.legs[want.ID]
	if adopted := c.owner.String(); !known && p.legs[adopted] != nil {
		l, known = p.legs[adopted], true
		c.rename(l, adopted, want.ID)
	}
	if !known {
		l = &leg{}
		p.legs[want.ID] = l
		c.s.own(want.ID, p)
		c.tx.revert(func() error {
			delete(p.legs, want.ID)
			c.s.disown(want.ID)
			return nil
		})
	}
	restore(c.tx, l)
	l.want, l.owner = want, owner{}
	l.withdrawn, l.lost, l.vacated, l.adopted = false, false, false, false
	if p.inherited != nil && !p.inherits() {
		restore(c.tx, &p.inherited)
		p.inherited = nil // all legs say what they want
	}
	return l
}

// rename gives an adopted leg the ID that its owner was made of.
func (c *connecting) rename(l *leg, from, to string) {
	p := c.p
	move := func(from, to string) {
		delete(p.legs, from)
		p.legs[to] = l
		c.s.disown(from)
		c.s.own(to, p)
	}
	move(from, to)
	c.tx.revert(func() error { move(to, from); return nil })
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
	if !c.p.carrier || c.inClient == nil {
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
	if side.Tunnel != nil {
		return c.farClient(*side.Tunnel, side.Former)
	}
	if err := c.s.recoverClient(c.tx, inside, p); err != nil {
		return err
	}
	want := p.want()
	fresh, err := c.clientVeth(side, want)
	if err != nil {
		return err
	}
	if side.MAC != nil && string(side.MAC) != string(p.client.in.mac) {
		return fmt.Errorf("%s has MAC %s, not %s: %w", side.Interface, p.client.in.mac, side.MAC, ErrMACConflict)
	}
	p.client.in.lead(side.NetNS)
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
		Name: outerName(clientPrefix, p.key.cookie, side.Interface), Alias: id, NoLinkLocal: true,
		PeerName: side.Interface, PeerAlias: id, PeerMAC: mac, MTU: want.mtu,
		PeerNetNS: side.NetNS, PeerHandle: inside,
	})
	if err != nil {
		return false, err
	}
	// Rules and blackholes outlive an interface; so a re-created one is not
	// fresh.
	return len(p.client.in.tables) == 0, c.openPort()
}

// openPort lets frames into and out of a new client interface. The inner end comes
// up last: the end that finds its peer up can send at once, the other one only
// when the kernel gets round to it (linkwatch), and until then drops silently.
func (c *connecting) openPort() error {
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
		if !l.endpoint.exists() {
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

// point makes the frames of a leg's endpoint lead to the client.
func (c *connecting) point(l *leg) error {
	if l.endpoint.tunnel != nil || c.p.client.tunnel != nil {
		return c.pointFar(l)
	}
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
