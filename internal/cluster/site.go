// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/traffic"
)

// External is a load balancer's interface to the outside.
const External = "ext0"

// Site is the outside of one trench: a router, which has the clients, and the
// load balancers that it reaches, each by a veth of its own.
type Site struct {
	Router     string // path of the namespace that has the clients, and is the router if there are no gateways
	Gateways   []*Gateway
	number     byte
	net4, net6 netip.Prefix
	routed     *routed // nil: the router has fixed routes, see Route
}

func newSite(number byte) *Site {
	return &Site{
		number: number,
		net4:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, number, 0, 0}), 24),
		net6:   netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: number}), 64),
	}
}

// NewSite makes a router. Its number is the second byte of the addresses
// outside: 10.<number>.0.0/24 and fd<number>::/64.
func NewSite(namespaces *Namespaces, name string, number byte) (*Site, error) {
	s := newSite(number)
	var err error
	if s.Router, err = namespaces.Add("router-" + name); err != nil {
		return nil, err
	}
	return s, netns.Do(s.Router, func() error { return errors.Join(withoutDAD(s.Router), byFlow()) })
}

// host is the address of a prefix with this last byte.
func host(p netip.Prefix, last byte) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = last
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (s *Site) gateway(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return host(p, 254)
	}
	return host(p, 0xfe)
}

func uplink(number byte) string { return fmt.Sprintf("lb%d", number) }

// Connect gives a load balancer's namespace its external interface.
func (s *Site) Connect(replica string, number byte) error {
	if s.routed != nil {
		return s.routed.plug(replica, External, outside, uplink(number), of(s.net4, number), of(s.net6, number))
	}
	return errors.Join(withoutDAD(replica),
		nl.Do(s.Router, func(h *nl.Handle) error {
			link, _, err := h.AddVeth(nl.Veth{Name: uplink(number), PeerName: External, PeerNetNS: replica, PeerUp: true})
			if err != nil {
				return err
			}
			errs := []error{h.SetUp(link.Index)}
			for _, p := range []netip.Prefix{s.net4, s.net6} {
				gateway, lb := s.gateway(p), host(p, number)
				errs = append(errs, h.AddAddress(link.Index, netip.PrefixFrom(gateway, gateway.BitLen())),
					h.AddRoute(nl.Route{Index: link.Index, Prefix: netip.PrefixFrom(lb, lb.BitLen())}))
			}
			return errors.Join(errs...)
		}),
		nl.Do(replica, func(h *nl.Handle) error {
			link, err := h.LinkByName(External)
			if err != nil {
				return err
			}
			return errors.Join(h.AddAddress(link.Index, netip.PrefixFrom(host(s.net4, number), s.net4.Bits())),
				h.AddAddress(link.Index, netip.PrefixFrom(host(s.net6, number), s.net6.Bits())))
		}))
}

// LegPrefixes are where a replica's leg addresses come from: its own ones.
func (s *Site) LegPrefixes(number byte) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + s.number, number, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x10 + s.number, 3: number}), 64),
	}
}

// Route points addresses at the replicas with these numbers, all at once per
// address: what BGP would do.
func (s *Site) Route(addresses []netip.Addr, replicas ...byte) error {
	return nl.Do(s.Router, func(h *nl.Handle) error {
		for _, address := range addresses {
			net := s.net4
			if address.Is6() {
				net = s.net6
			}
			var hops []nl.NextHop
			for _, number := range replicas {
				link, err := h.LinkByName(uplink(number))
				if err != nil {
					return err
				}
				hops = append(hops, nl.NextHop{Index: link.Index, Gateway: host(net, number)})
			}
			if err := h.ReplaceRoute(nl.Route{Prefix: netip.PrefixFrom(address, address.BitLen()), Multipath: hops}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Dial opens sockets in the router's namespace.
func (s *Site) Dial() traffic.Dialer {
	return traffic.DialIn(func(fn func() error) error { return netns.Do(s.Router, fn) })
}

const (
	askTimeout = 200 * time.Millisecond // where no answer is a possible outcome
	askEach    = 20                     // questions per destination and server
)

// Await asks destinations until every one answers every time, by each of the
// servers and nobody else.
func (s *Site) Await(ctx context.Context, to []netip.AddrPort, servers ...string) error {
	slices.Sort(servers)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		tally := traffic.AskMany(s.Dial(), "udp", to, askEach*len(to)*len(servers), 16, askTimeout)
		if tally.Answered == tally.Asked && slices.Equal(slices.Sorted(maps.Keys(tally.ByServer)), servers) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for answers of %v: %d of %d answered, by %v: %w", servers, tally.Answered, tally.Asked, tally.ByServer, tally.FirstError)
		}
	}
}
