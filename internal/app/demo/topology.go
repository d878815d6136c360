// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

const prefix = "weft-demo-" // of every namespace of the demo

// site is the outside of one trench: a router and the load balancers it can
// reach, each by a veth of its own.
type site struct {
	router  string // path of the router's namespace
	net4    netip.Prefix
	net6    netip.Prefix
	routed  []int // numbers of the replicas that the VIP routes point to
	gateway struct{ v4, v6 netip.Addr }
}

func host(p netip.Prefix, last byte) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = last
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// topology makes namespaces and remembers them for the end.
type topology struct{ made []string }

func (t *topology) namespace(name string) (string, error) {
	path, err := netns.Create(prefix + name)
	if err != nil {
		return "", err
	}
	t.made = append(t.made, prefix+name)
	return path, withHandle(path, func(h *nl.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.SetUp(lo.Index)
	})
}

func (t *topology) remove(name string) error {
	for i, made := range t.made {
		if made == prefix+name {
			t.made = append(t.made[:i], t.made[i+1:]...)
			return netns.Delete(made)
		}
	}
	return nil
}

func (t *topology) close() error {
	var errs []error
	for _, name := range t.made {
		errs = append(errs, netns.Delete(name))
	}
	t.made = nil
	return errors.Join(errs...)
}

func (t *topology) site(name string, number byte) (*site, error) {
	s := &site{
		net4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, number, 0, 0}), 24),
		net6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: number}), 64),
	}
	s.gateway.v4, s.gateway.v6 = host(s.net4, 254), host(s.net6, 0xfe)
	var err error
	if s.router, err = t.namespace("router-" + name); err != nil {
		return nil, err
	}
	// ECMP by the whole flow, as routers do it.
	return s, netns.Do(s.router, func() error {
		return errors.Join(withoutDAD(), sysctl("net.ipv4.fib_multipath_hash_policy", "1"),
			sysctl("net.ipv6.fib_multipath_hash_policy", "1"))
	})
}

// withoutDAD makes link-local addresses of interfaces to come usable at once.
// A machine boots long before traffic reaches it; a replica of the demo has no
// second to spare.
func withoutDAD() error { return sysctl("net.ipv6.conf.default.accept_dad", "0") }

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
}

// connect gives the replica's namespace its external interface ext0.
func (s *site) connect(replica string, number byte) error {
	uplink := fmt.Sprintf("lb%d", number)
	return errors.Join(
		netns.Do(replica, withoutDAD),
		withHandle(s.router, func(h *nl.Handle) error {
			link, _, err := h.AddVeth(nl.Veth{Name: uplink, PeerName: external, PeerNetNS: replica, PeerUp: true})
			if err != nil {
				return err
			}
			errs := []error{h.SetUp(link.Index)}
			for _, p := range []netip.Prefix{s.net4, s.net6} {
				gw, lb := s.addresses(p, number)
				errs = append(errs, h.AddAddress(link.Index, netip.PrefixFrom(gw, gw.BitLen())),
					h.AddRoute(nl.Route{Index: link.Index, Prefix: netip.PrefixFrom(lb, lb.BitLen())}))
			}
			return errors.Join(errs...)
		}),
		withHandle(replica, func(h *nl.Handle) error {
			link, err := h.LinkByName(external)
			if err != nil {
				return err
			}
			var errs []error
			for _, p := range []netip.Prefix{s.net4, s.net6} {
				_, lb := s.addresses(p, number)
				errs = append(errs, h.AddAddress(link.Index, netip.PrefixFrom(lb, p.Bits())))
			}
			return errors.Join(errs...)
		}))
}

// legPrefixes are where a replica's leg addresses come from: its own ones.
func (s *site) legPrefixes(number byte) []netip.Prefix {
	site4, site6 := s.net4.Addr().As4(), s.net6.Addr().As16()
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + site4[1], number, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x10 + site6[1], 3: number}), 64),
	}
}

func (s *site) addresses(p netip.Prefix, number byte) (gateway, lb netip.Addr) {
	if p.Addr().Is4() {
		return s.gateway.v4, host(p, number)
	}
	return s.gateway.v6, host(p, number)
}

// route points the VIPs at the replicas, all at once per VIP: what BGP would do.
func (s *site) route(vips []netip.Addr, replicas ...int) error {
	return withHandle(s.router, func(h *nl.Handle) error {
		var hops4, hops6 []nl.NextHop
		for _, n := range replicas {
			link, err := h.LinkByName(fmt.Sprintf("lb%d", n))
			if err != nil {
				return err
			}
			hops4 = append(hops4, nl.NextHop{Index: link.Index, Gateway: host(s.net4, byte(n))})
			hops6 = append(hops6, nl.NextHop{Index: link.Index, Gateway: host(s.net6, byte(n))})
		}
		s.routed = replicas
		for _, vip := range vips {
			hops := hops4
			if vip.Is6() {
				hops = hops6
			}
			if err := h.ReplaceRoute(nl.Route{Prefix: netip.PrefixFrom(vip, vip.BitLen()), Multipath: hops}); err != nil {
				return err
			}
		}
		return nil
	})
}

func withHandle(path string, fn func(*nl.Handle) error) error {
	h, err := nl.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(fn(h), h.Close())
}
