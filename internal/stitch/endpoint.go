// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"net"

	"github.com/weft-project/weft/internal/nl"
)

// endpoint makes the endpoint's interface of a leg, or changes it.
func (c *connecting) endpoint(l *leg) error {
	side, inside, cookie := l.want.Endpoint, c.inEndpoint, c.endpointCookie
	if side.Tunnel != nil {
		return c.farEndpoint(l, *side.Tunnel, side.Former)
	}
	want := union([]Side{side})
	same, err := c.present(l)
	if err != nil {
		return err
	}
	if same {
		return c.change(l, want)
	}
	c.replace(l)
	id := endpointAlias + l.want.ID
	l.endpoint = end{in: inner{cookie: cookie}}
	err = c.s.veth(c.tx, c.host, &l.endpoint, nl.Veth{
		Name: outerName(endpointPrefix, cookie, l.want.ID, side.Interface), Alias: id, NoLinkLocal: true,
		PeerName: side.Interface, PeerAlias: id, PeerMAC: side.MAC, MTU: want.mtu,
		PeerNetNS: side.NetNS, PeerHandle: inside,
	})
	if err != nil {
		return err
	}
	c.s.ownIndex(c.tx, l.endpoint.outer, c.p)
	l.up, l.carrier = false, false
	if err := c.point(l); err != nil {
		return err
	}
	if !l.want.EndpointBringsUp {
		// The inner end last, as in openPort.
		if err := c.raiseLeg(l); err != nil {
			return err
		}
		index := l.endpoint.in.index
		if err := c.tx.must("endpoint interface up", func() error { return inside.SetUp(index) }, nil); err != nil {
			return err
		}
	}
	return c.s.configure(c.tx, inside, &l.endpoint, want, true, !l.want.EndpointBringsUp)
}

// present tells whether the leg has the interface that it wants.
func (c *connecting) present(l *leg) (bool, error) {
	e, side := &l.endpoint, l.want.Endpoint
	if e.outer != 0 && e.adopted && e.outerName == outerName(endpointPrefix, c.endpointCookie, l.want.ID, side.Interface) {
		e.in.cookie, e.in.name = c.endpointCookie, side.Interface
	}
	if e.outer == 0 || e.in.cookie != c.endpointCookie || e.in.name != side.Interface {
		return false, nil
	}
	link, err := c.inEndpoint.LinkByIndex(e.in.index)
	if err == nil && link.PeerIndex == e.outer {
		return true, c.s.recover(c.inEndpoint, e)
	}
	if err != nil && !errors.Is(err, nl.ErrNotFound) {
		return false, err
	}
	// Removed from within, and the event is still to come.
	return false, c.s.forget(e)
}

// change brings the leg's present interface to what is wanted.
func (c *connecting) change(l *leg, want config) error {
	e, side, inside := &l.endpoint, l.want.Endpoint, c.inEndpoint
	e.in.lead(side.NetNS)
	if c.p.client.tunnel != nil {
		if err := c.point(l); err != nil {
			return err
		}
	}
	if err := c.changeMAC(e, side.MAC); err != nil {
		return err
	}
	if err := c.tx.setMTU(c.host, inside, e, want.mtu); err != nil {
		return err
	}
	return c.s.configure(c.tx, inside, e, want, false, false)
}

// changeMAC gives the endpoint's interface another MAC. The kernel then drops
// the neighbours of the interface; configure puts them back.
func (c *connecting) changeMAC(e *end, mac net.HardwareAddr) error {
	old, h := e.in.mac, c.inEndpoint
	if mac == nil || string(mac) == string(old) {
		return nil
	}
	neighbours, err := h.Neighbours(e.in.index)
	if err != nil {
		return err
	}
	err = c.tx.must("set MAC",
		func() error { return h.SetMAC(e.in.index, mac) },
		func() error {
			errs := []error{h.SetMAC(e.in.index, old)}
			for _, n := range neighbours {
				errs = append(errs, h.AddNeighbour(e.in.index, n.IP, n.MAC))
			}
			return errors.Join(errs...)
		})
	if err == nil {
		e.in.mac = mac
	}
	return err
}

// replace removes the present interface of a leg, in another namespace or
// with another name, when the new one works.
func (c *connecting) replace(l *leg) {
	old := l.endpoint
	c.tx.after(func() {
		if err := errors.Join(c.s.clear(&old), c.s.remove(&old)); err != nil {
			c.s.log.Error("remove replaced interface", "conn", l.want.ID, "iface", old.outerName, "err", err)
		}
	})
}
