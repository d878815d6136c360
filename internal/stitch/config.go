// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// defaultMTU is the kernel's for veth.
const defaultMTU = 1500

// hops is where a route leads on one interface.
type hops struct {
	gateways []netip.Addr // sorted; the zero address is the link itself
	source   netip.Addr   // preferred source, may be zero
}

func (h hops) equal(other hops) bool {
	return h.source == other.source && slices.Equal(h.gateways, other.gateways)
}

type routes map[netip.Prefix]hops

// config is what an interface shall have.
type config struct {
	mtu        int
	addresses  []netip.Prefix // in order, the first is the kernel's first choice as source
	routes     routes
	neighbours map[netip.Addr]string // MAC as string(bytes)
	policies   map[netip.Prefix]routes
	leases     map[netip.Prefix]time.Time // when the kernel takes the address away
}

// union is what several legs want of their common interface. In a conflict
// the last one wins, so the order must be stable.
func union(sides []Side) config {
	c := config{
		routes: routes{}, neighbours: map[netip.Addr]string{}, policies: map[netip.Prefix]routes{},
		leases: map[netip.Prefix]time.Time{},
	}
	now := time.Now()
	for _, side := range sides {
		if side.MTU != 0 && (c.mtu == 0 || side.MTU < c.mtu) {
			c.mtu = side.MTU
		}
		for _, a := range side.Addresses {
			if !side.Until.IsZero() && side.leases(a) {
				if side.Until.Sub(now) < time.Second { // the kernel counts in seconds
					continue // it may be somebody else's by now
				}
				c.leases[a] = side.Until
			}
			if !slices.Contains(c.addresses, a) {
				c.addresses = append(c.addresses, a)
			}
		}
		for _, r := range side.Routes {
			c.routes.add(r, side.source(r))
		}
		for _, n := range side.Neighbours {
			c.neighbours[n.IP] = string(n.MAC)
		}
		for _, p := range side.Policies {
			from := p.From.Masked()
			if c.policies[from] == nil {
				c.policies[from] = routes{}
			}
			for _, r := range p.Routes {
				c.policies[from].add(r, netip.Addr{})
			}
		}
	}
	if c.mtu == 0 {
		c.mtu = defaultMTU
	}
	return c
}

// add merges a route: several gateways of one prefix share the traffic.
func (rs routes) add(r Route, source netip.Addr) {
	prefix := r.Prefix.Masked()
	present, known := rs[prefix]
	if known && present.source != source {
		source = netip.Addr{} // legs disagree: the kernel chooses
	}
	gateways := slices.Clone(present.gateways)
	if at, found := slices.BinarySearchFunc(gateways, r.Gateway, netip.Addr.Compare); !found {
		gateways = slices.Insert(gateways, at, r.Gateway)
	}
	rs[prefix] = hops{gateways: gateways, source: source}
}

// source is the address that packets on a route of this side shall carry: its
// own one, not one of another leg and not one with a policy (a VIP).
func (s Side) source(r Route) netip.Addr {
	for _, a := range s.Addresses {
		addr := a.Addr()
		if addr.Is4() != r.Prefix.Addr().Is4() {
			continue
		}
		if s.leases(a) {
			return addr
		}
	}
	return netip.Addr{}
}

// leases says that the address is the side's alone, not one with a policy.
func (s Side) leases(a netip.Prefix) bool {
	return !slices.ContainsFunc(s.Policies, func(p Policy) bool { return p.From.Contains(a.Addr()) })
}

// inherit adds what an interface had before to what is wanted of it.
func (c *config) inherit(old config) {
	for _, a := range old.addresses {
		if !slices.Contains(c.addresses, a) {
			c.addresses = append(c.addresses, a)
		}
	}
	c.routes.inherit(old.routes)
	for ip, mac := range old.neighbours {
		if _, known := c.neighbours[ip]; !known {
			c.neighbours[ip] = mac
		}
	}
	for from, table := range old.policies {
		if c.policies[from] == nil {
			c.policies[from] = routes{}
		}
		c.policies[from].inherit(table)
	}
}

func (rs routes) inherit(old routes) {
	for prefix, to := range old {
		for _, gateway := range to.gateways {
			rs.add(Route{Prefix: prefix, Gateway: gateway}, to.source)
		}
	}
}

// onlyFrom leaves the choice of the source to the kernel where the address is not
// on the interface (any more): it takes no route from an address that it has not.
func (rs routes) onlyFrom(addresses []netip.Prefix) {
	for prefix, to := range rs {
		if !slices.ContainsFunc(addresses, func(a netip.Prefix) bool { return a.Addr() == to.source }) {
			to.source = netip.Addr{}
			rs[prefix] = to
		}
	}
}

// vip reports whether packets with the address take the routes of a policy.
func (c config) vip(addr netip.Addr) bool {
	for from := range c.policies {
		if from.Contains(addr) {
			return true
		}
	}
	return false
}

func macOf(bytes string) net.HardwareAddr { return net.HardwareAddr(bytes) }
