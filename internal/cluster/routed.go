// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// routed is what a site has whose gateways learn the VIPs from the replicas: all
// of them are on one network, and the clients on another one behind the gateways.
type routed struct {
	namespaces *Namespaces
	wire       string // namespace of both networks, which are bridges
	net4, net6 netip.Prefix
}

const (
	outside  = "outside" // bridge, and a gateway's interface to the replicas
	clients  = "clients" // bridge, and the interfaces at the clients' network
	policy   = 2000      // priority of a gateway's first rule for the clients' packets
	tableOne = 100       // a gateway's table of VIPs; tableOne+1 is BIRD's second one
)

// NewRoutedSite makes a site with gateways, which StartGateway starts. The
// replicas have to be told of them (GatewayAddresses).
func NewRoutedSite(namespaces *Namespaces, name string, number byte, gateways int) (*Site, error) {
	s := newSite(number)
	s.routed = &routed{
		namespaces: namespaces,
		net4:       netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, number, 0}), 24), // RFC 2544
		net6:       netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 4: 1, 5: number}), 64),
	}
	var err error
	if s.routed.wire, err = namespaces.Add("wire-" + name); err != nil {
		return nil, err
	}
	if err := nl.Do(s.routed.wire, func(h *nl.Handle) error {
		return errors.Join(addBridge(h, outside), addBridge(h, clients))
	}); err != nil {
		return nil, fmt.Errorf("make the networks of site %s: %w", name, err)
	}
	for i := range gateways {
		g, err := s.addGateway(name, i)
		if err != nil {
			return nil, fmt.Errorf("make gateway %d of site %s: %w", i+1, name, err)
		}
		s.Gateways = append(s.Gateways, g)
	}
	return s, s.addClient(name)
}

func addBridge(h *nl.Handle, name string) error {
	link, err := h.AddBridge(name)
	if err != nil {
		return err
	}
	return h.SetUp(link.Index)
}

// plug gives a namespace an interface to one of the networks.
func (r *routed) plug(ns, iface, network, port string, addresses ...netip.Prefix) error {
	if err := withoutDAD(ns); err != nil {
		return err
	}
	if err := nl.Do(r.wire, func(h *nl.Handle) error {
		to, err := h.LinkByName(network)
		if err != nil {
			return err
		}
		link, _, err := h.AddVeth(nl.Veth{Name: port, PeerName: iface, PeerNetNS: ns, PeerUp: true})
		if err != nil {
			return err
		}
		return errors.Join(h.SetMaster(link.Index, to.Index), h.SetUp(link.Index))
	}); err != nil {
		return err
	}
	return nl.Do(ns, func(h *nl.Handle) error {
		link, err := h.LinkByName(iface)
		if err != nil {
			return err
		}
		var errs []error
		for _, a := range addresses {
			errs = append(errs, h.AddAddress(link.Index, a))
		}
		return errors.Join(errs...)
	})
}

// of is an address with its network.
func of(network netip.Prefix, last byte) netip.Prefix {
	return netip.PrefixFrom(host(network, last), network.Bits())
}

// last is the last byte of the addresses of a gateway, which is counted from 0.
func last(gateway int) byte { return 254 - byte(gateway) }

func (s *Site) addGateway(name string, i int) (*Gateway, error) {
	r := s.routed
	g := &Gateway{Name: fmt.Sprintf("router-%s-%d", name, i+1), site: s, last: last(i)}
	var err error
	if g.NetNS, err = r.namespaces.Add(g.Name); err != nil {
		return nil, err
	}
	if err := netns.Do(g.NetNS, func() error {
		return errors.Join(byFlow(), sysctl("net.ipv4.ip_forward", "1"), sysctl("net.ipv6.conf.all.forwarding", "1"),
			sysctl("net.ipv4.conf.all.rp_filter", "0"), sysctl("net.ipv4.conf.default.rp_filter", "0"))
	}); err != nil {
		return nil, err
	}
	return g, errors.Join(
		r.plug(g.NetNS, outside, outside, fmt.Sprintf("gw%d", i+1), of(s.net4, g.last), of(s.net6, g.last)),
		r.plug(g.NetNS, clients, clients, fmt.Sprintf("cl%d", i+1), of(r.net4, g.last), of(r.net6, g.last)))
}

// addClient makes the namespace of the clients, which share all gateways.
func (s *Site) addClient(name string) (err error) {
	r := s.routed
	if s.Router, err = r.namespaces.Add("client-" + name); err != nil {
		return err
	}
	if err := netns.Do(s.Router, byFlow); err != nil {
		return err
	}
	if err := r.plug(s.Router, clients, clients, "client", of(r.net4, 1), of(r.net6, 1)); err != nil {
		return err
	}
	return nl.Do(s.Router, func(h *nl.Handle) error {
		link, err := h.LinkByName(clients)
		if err != nil {
			return err
		}
		var errs []error
		for _, network := range []netip.Prefix{r.net4, r.net6} {
			var hops []nl.NextHop
			for i := range s.Gateways {
				hops = append(hops, nl.NextHop{Index: link.Index, Gateway: host(network, last(i))})
			}
			errs = append(errs, h.AddRoute(nl.Route{Prefix: everything(network), Multipath: hops}))
		}
		return errors.Join(errs...)
	})
}

// everything is the default route of a prefix's family.
func everything(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// byFlow makes ECMP take the whole flow, as routers do it.
func byFlow() error {
	return errors.Join(sysctl("net.ipv4.fib_multipath_hash_policy", "1"), sysctl("net.ipv6.fib_multipath_hash_policy", "1"))
}

// Cut takes a replica off the outside in such a way that neither end sees it by
// its carrier, as behind a switch.
func (s *Site) Cut(number byte) error { return s.setMaster(number, "") }

// Mend ends Cut.
func (s *Site) Mend(number byte) error { return s.setMaster(number, outside) }

func (s *Site) setMaster(number byte, network string) error {
	return nl.Do(s.routed.wire, func(h *nl.Handle) error {
		port, err := h.LinkByName(uplink(number))
		if err != nil {
			return err
		}
		master := 0
		if network != "" {
			link, err := h.LinkByName(network)
			if err != nil {
				return err
			}
			master = link.Index
		}
		return h.SetMaster(port.Index, master)
	})
}

// AwaitRoutes waits until every gateway reaches addresses by exactly the replicas
// with these numbers.
func (s *Site) AwaitRoutes(ctx context.Context, addresses []netip.Addr, replicas ...byte) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := ""
		for _, g := range s.Gateways {
			for _, a := range addresses {
				found, err := g.Replicas(a)
				if err != nil {
					return err
				}
				if !slices.Equal(found, replicas) {
					missing = fmt.Sprintf("%s reaches %s by %v", g.Name, a, found)
				}
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for routes to replicas %v: %s: %w", replicas, missing, ctx.Err())
		}
	}
}
