// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// owner is what the kernel's tunnel entry knows of a leg.
type owner [16]byte

func ownerOf(id string) owner {
	sum := sha256.Sum256([]byte(id))
	return owner(sum[:len(owner{})])
}

// String is the ID of an adopted leg until Connect tells the real one.
func (o owner) String() string { return "owner:" + hex.EncodeToString(o[:]) }

// far is a tunnel in use; without port it is only reserved.
type far struct {
	owner owner
	port  *port
}

// noMAC stands for that of an endpoint that does not tell it; its client's only
// leg needs none.
var noMAC = make(net.HardwareAddr, 6)

// join makes a tunnel the leg's. Its far end is followed when frames from there
// find their way (follow).
func (s *Stitcher) join(t *tx, tunnel Tunnel, p *port, leg owner) error {
	key := tunnel.Key()
	s.mu.Lock()
	present := s.far[key]
	if present != nil && present.owner != leg || present != nil && present.port != nil && present.port != p {
		s.mu.Unlock()
		return fmt.Errorf("VNI %d of %s: %w", key.VNI, key.Remote, ErrTunnelTaken)
	}
	s.far[key] = &far{owner: leg, port: p}
	s.mu.Unlock()
	if present != nil && present.port != nil {
		return nil
	}
	t.revert(func() error {
		s.mu.Lock()
		if present == nil {
			delete(s.far, key)
		} else {
			s.far[key] = present
		}
		s.mu.Unlock()
		s.remotes.Leave(tunnel)
		return s.xc.DeleteTunnel(tunnel.Tunnel)
	})
	return nil
}

// leave forgets the tunnels of an end.
func (s *Stitcher) leave(e *end) error {
	all := e.tunnels()
	e.tunnel, e.next, e.old = nil, nil, nil
	return s.leaveAll(all, s.remotes.Leave)
}

func (s *Stitcher) leaveAll(all []Tunnel, end func(Tunnel)) error {
	var errs []error
	for _, t := range all {
		s.mu.Lock()
		delete(s.far, t.Key())
		s.mu.Unlock()
		end(t)
		errs = append(errs, s.xc.DeleteTunnel(t.Tunnel))
	}
	return errors.Join(errs...)
}

// RemoteChanged looks at the far end of a tunnel again.
func (s *Stitcher) RemoteChanged(t xconnect.Tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.far[t.Key()]; f != nil && f.port != nil {
		s.wake(f.port)
	}
}

// farCarrier returns the carrier of an end on another node. Before the first
// answer an adopted end is as it was left; one that will tell is down.
func (s *Stitcher) farCarrier(e *end) bool {
	up, known := s.remotes.Carrier(*e.tunnel)
	if known {
		return up
	}
	return e.adopted || !e.tunnel.Signals
}

// tell signals the carrier of the ends here to those on other nodes.
func (s *Stitcher) tell(p *port) {
	up := false
	for _, l := range p.legs {
		up = up || l.carrier && !l.withdrawn && !l.lost
		for _, t := range l.endpoint.tunnels() {
			s.remotes.SetCarrier(t, p.carrier && !l.withdrawn)
		}
	}
	for _, t := range p.client.tunnels() {
		s.remotes.SetCarrier(t, up)
	}
}

// tunnels returns all by which the far end may send.
func (e *end) tunnels() []Tunnel {
	var all []Tunnel
	for _, t := range []*Tunnel{e.tunnel, e.next} {
		if t != nil {
			all = append(all, *t)
		}
	}
	return append(all, e.old...)
}

// farClient makes a port of a client on another node. When the client has
// another tunnel than before, frames may come by both from now on. They are sent
// by the new one when the other node is ready for it.
func (c *connecting) farClient(t Tunnel, former []netip.Addr) error {
	p := c.p
	if err := c.s.join(c.tx, t, p, c.owner); err != nil {
		return err
	}
	c.s.mu.Lock()
	c.s.vnis[c.owner] = t.Key()
	c.s.mu.Unlock()
	restore(c.tx, &p.carrier)
	e := &p.client
	c.retire(e)
	e.assume(p.carrier)
	switch {
	case e.tunnel == nil || e.tunnel.Key() == t.Key():
		e.tunnel = &t
	default:
		e.next = &t
		c.s.switchTunnel(e)
	}
	p.carrier = c.s.farCarrier(e)
	return c.accept(e, t, former)
}

// accept lets an end have the tunnels from the former addresses of its node, too.
func (c *connecting) accept(e *end, t Tunnel, former []netip.Addr) error {
	for _, address := range former {
		if t.Remote = address; e.has(t) {
			continue
		}
		if err := c.s.join(c.tx, t, c.p, c.owner); err != nil {
			return err
		}
		e.old = append(e.old, t)
	}
	return nil
}

// retire ends the time of the tunnels that an end had before its present one.
func (c *connecting) retire(e *end) {
	restore(c.tx, e)
	retired := e.old
	e.old = nil
	if e.next != nil { // never used
		retired, e.next = append(retired, *e.next), nil
	}
	c.tx.after(func() {
		for _, t := range retired {
			if e.has(t) {
				continue // it is wanted again
			}
			if err := c.s.leaveAll([]Tunnel{t}, c.s.remotes.Forget); err != nil {
				c.s.log.Error("forget tunnel", "vni", t.VNI, "remote", t.Remote, "err", err)
			}
		}
	})
}

// assume keeps the carrier of an end whose tunnel may change, until the other node
// tells it by the new one.
func (e *end) assume(carrier bool) { e.adopted = e.tunnel != nil && carrier }

func (e *end) has(t Tunnel) bool {
	is := func(other Tunnel) bool { return other.Key() == t.Key() }
	return e.tunnel != nil && is(*e.tunnel) || e.next != nil && is(*e.next) || slices.ContainsFunc(e.old, is)
}

// switchTunnel puts the next tunnel of an end in the place of the present one if
// the other node is ready, or will not tell.
func (s *Stitcher) switchTunnel(e *end) bool {
	if e.next == nil {
		return false
	}
	if up, known := s.remotes.Carrier(*e.next); e.next.Signals && (!up || !known) {
		return false
	}
	e.old = append(e.old, *e.tunnel)
	e.tunnel, e.next = e.next, nil
	return true
}

// farEndpoint leads a leg to an endpoint on another node. By a tunnel that it had
// before, frames may still come.
func (c *connecting) farEndpoint(l *leg, t Tunnel, former []netip.Addr) error {
	if err := c.s.join(c.tx, t, c.p, c.owner); err != nil {
		return err
	}
	e := &l.endpoint
	switch {
	case e.tunnel == nil:
		c.replace(l)
		l.endpoint, l.up = end{}, false
	case e.tunnel.Key() != t.Key():
		c.retire(e)
		e.old = []Tunnel{*e.tunnel}
		e.assume(l.carrier)
	default:
		c.retire(e)
		e.assume(l.carrier)
	}
	e.tunnel, e.in.mac = &t, l.want.Endpoint.MAC
	if e.in.mac == nil {
		e.in.mac = noMAC
	}
	if err := c.accept(e, t, former); err != nil {
		return err
	}
	return c.pointFar(l)
}

// pointFar makes the frames of a leg's tunnel lead to its end here, and those of
// an endpoint here into the tunnel to its client.
func (c *connecting) pointFar(l *leg) error {
	p := c.p
	if p.client.tunnel != nil {
		outer := l.endpoint.outer
		for _, t := range p.client.tunnels() {
			if err := c.follow(t, xconnect.TunnelPort{IfIndex: outer, Owner: c.ownerOf(l)}); err != nil {
				return err
			}
		}
		return c.tx.must("write endpoint port",
			func() error { return c.s.xc.SetEndpointBehind(outer, p.client.tunnel.Tunnel) }, nil)
	}
	if p.client.outer == 0 {
		return nil // written when the interface is there again
	}
	to := xconnect.TunnelPort{IfIndex: p.client.outer, Mark: p.client.in.mark(), Owner: c.ownerOf(l)}
	for _, t := range l.endpoint.tunnels() {
		if err := c.follow(t, to); err != nil {
			return err
		}
	}
	return nil
}

// follow lets frames in from a tunnel, and then asks how the other end is.
func (c *connecting) follow(t Tunnel, to xconnect.TunnelPort) error {
	err := c.tx.must("write tunnel", func() error { return c.s.xc.SetTunnel(t.Tunnel, to) }, nil)
	if err == nil {
		c.s.remotes.Join(t)
	}
	return err
}

// ownerOf returns the owner of a leg of the port, the adopted ones included.
func (c *connecting) ownerOf(l *leg) owner {
	if l.owner != (owner{}) {
		return l.owner
	}
	return ownerOf(l.want.ID)
}
