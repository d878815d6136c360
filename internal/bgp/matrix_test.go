// SPDX-License-Identifier: Apache-2.0

package bgp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// option is one row of the matrix: how we are configured, and how the gateways.
type option struct {
	name    string
	address netip.Addr
	us      func(*bgp.Peer)
	as      uint32 // of the gateway
	port    uint16 // that the gateway listens on
	ourPort uint16
	ourAS   uint32
	bird    string // options of the protocol
	frr     []string
	v4, v6  bool
	ext     bool // RFC 8950
}

func options() []option {
	all := []option{
		{name: "IPv4", address: gateway4, v4: true},
		{name: "IPv6", address: gateway6, v6: true},
		{name: "both on IPv4", address: gateway4, v4: true, v6: true, us: func(p *bgp.Peer) { p.NextHop6 = ours6 }},
		{name: "both on IPv6", address: gateway6, v4: true, v6: true, us: func(p *bgp.Peer) { p.NextHop4 = ours4 }},
		{name: "RFC 8950", address: gateway6, v4: true, v6: true, ext: true, us: func(p *bgp.Peer) { p.ExtendedNextHop = true }},
		{name: "link-local", address: gatewayLL, v4: true, v6: true, ext: true, us: func(p *bgp.Peer) { p.ExtendedNextHop = true }},
		{name: "internal", address: gateway4, as: 64512, v4: true},
		{name: "4-byte AS", address: gateway4, as: 4200000001, ourAS: 4200000002, v4: true},
		{name: "ports", address: gateway4, port: 1179, ourPort: 2179, v4: true},
	}
	for _, address := range []netip.Addr{gateway4, gateway6} {
		base := option{address: address, v4: address.Is4(), v6: address.Is6()}
		with := func(name string, us func(*bgp.Peer), bird string, frr ...string) {
			o := base
			o.name, o.us, o.bird, o.frr = fmt.Sprintf("%s over IPv%d", name, map[bool]int{true: 4, false: 6}[address.Is4()]), us, bird, frr
			all = append(all, o)
		}
		with("MD5", func(p *bgp.Peer) { p.Password = "a-secret" }, `password "a-secret";`, "password a-secret")
		with("GTSM", func(p *bgp.Peer) { p.TTLSecurity = 1 }, "ttl security on;", "ttl-security hops 1")
		with("multihop", func(p *bgp.Peer) { p.Multihop = 3 }, "multihop 3;", "ebgp-multihop 3")
	}
	for i := range all {
		o := &all[i]
		if o.as == 0 {
			o.as = 65001
		}
		if o.ourAS == 0 {
			o.ourAS = 64512
		}
		if o.port == 0 {
			o.port = 179
		}
		if o.ourPort == 0 {
			o.ourPort = 179
		}
		us := o.us
		o.us = func(p *bgp.Peer) {
			p.LocalASN, p.RemoteASN, p.LocalPort, p.RemotePort = o.ourAS, o.as, o.ourPort, o.port
			if us != nil {
				us(p)
			}
		}
	}
	return all
}

func (o option) ours() string {
	return map[netip.Addr]string{gateway4: "192.0.2.1", gateway6: "2001:db8::1", gatewayLL: "fe80::1"}[o.address]
}

func (o option) birdConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, "router id 192.0.2.2;\nprotocol device { }\nprotocol direct { ipv4; ipv6; }\n")
	fmt.Fprintf(&b, "protocol static s4 { ipv4; route %s blackhole; route 0.0.0.0/0 blackhole; }\n", theirRoute)
	fmt.Fprintf(&b, "protocol static s6 { ipv6; route 2001:db8:c::/48 blackhole; route ::/0 blackhole; }\n")
	local, neighbor := o.address.String(), o.ours()
	if o.address.IsLinkLocalUnicast() {
		neighbor += "%" + wireName
	}
	fmt.Fprintf(&b, "protocol bgp p1 {\n local %s port %d as %d; neighbor %s port %d as %d; connect delay time 1; connect retry time 1; error wait time 1, 2; graceful restart on; %s\n",
		local, o.port, o.as, neighbor, o.ourPort, o.ourAS, o.bird)
	if o.v4 {
		extended := ""
		if o.ext {
			extended = "extended next hop on;"
		}
		fmt.Fprintf(&b, " ipv4 { import all; export where source = RTS_STATIC; next hop self; %s };\n", extended)
	}
	if o.v6 {
		fmt.Fprintf(&b, " ipv6 { import all; export where source = RTS_STATIC; next hop self; };\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func TestMatrixBIRD(t *testing.T) {
	for _, o := range options() {
		t.Run(o.name, func(t *testing.T) {
			testutil.CheckLeaks(t)
			ns := wire(t)
			bird := router.StartBIRD(t, ns, o.birdConfig())
			peer := gateway("g", o.address)
			o.us(&peer)
			s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer}, Announce: vips, GracefulRestart: 30 * time.Second})
			s.established("g")
			o.check(t, s, func() map[string]string {
				found := map[string]string{}
				for _, route := range bird.Routes("protocol p1") {
					if len(route.NextHops) == 1 {
						found[route.Prefix.String()] = route.NextHops[0].String()
					}
				}
				return found
			})
			if p := bird.Protocol("p1"); p.Info != "Established" {
				t.Errorf("BIRD says %s", p.Info)
			}
		})
	}
}

func (o option) frrConfig() string {
	var b strings.Builder
	neighbor := "neighbor " + o.ours()
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.0.2.2\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n bgp graceful-restart\n", o.as)
	fmt.Fprintf(&b, " %s remote-as %d\n %s timers connect 1\n %s port %d\n", neighbor, o.ourAS, neighbor, neighbor, o.ourPort)
	if o.address.IsLinkLocalUnicast() {
		fmt.Fprintf(&b, " %s interface %s\n", neighbor, wireName)
	}
	if o.ext {
		fmt.Fprintf(&b, " %s capability extended-nexthop\n", neighbor)
	}
	for _, line := range o.frr {
		fmt.Fprintf(&b, " %s %s\n", neighbor, line)
	}
	if o.v4 {
		fmt.Fprintf(&b, " address-family ipv4 unicast\n  network %s\n  %s activate\n  %s next-hop-self\n  %s default-originate\n exit-address-family\n", theirRoute, neighbor, neighbor, neighbor)
	}
	if o.v6 {
		fmt.Fprintf(&b, " address-family ipv6 unicast\n  network 2001:db8:c::/48\n  %s activate\n  %s next-hop-self\n  %s default-originate\n exit-address-family\n", neighbor, neighbor, neighbor)
	}
	b.WriteString("exit\n")
	return b.String()
}

func TestMatrixFRR(t *testing.T) {
	for _, o := range options() {
		t.Run(o.name, func(t *testing.T) {
			testutil.CheckLeaks(t)
			ns := wire(t)
			o.port = 179 // it is an option of bgpd's command line
			frr := router.StartFRR(t, ns, o.frrConfig())
			peer := gateway("g", o.address)
			o.us(&peer)
			peer.RemotePort = 179
			s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer}, Announce: vips, GracefulRestart: 30 * time.Second})
			s.established("g")
			o.check(t, s, func() map[string]string { return frrRoutes(frr) })
		})
	}
}

func frrRoutes(frr *router.FRR) map[string]string {
	found := map[string]string{}
	for _, family := range []string{"ip", "ipv6"} {
		for prefix, routes := range frr.Routes(family) {
			for _, route := range routes {
				if route.Protocol == "bgp" && len(route.NextHops) > 0 {
					found[prefix] = route.NextHops[0].IP
				}
			}
		}
	}
	return found
}

// check looks at what both sides have learned.
func (o option) check(t *testing.T, s *speaker, theirs func() map[string]string) {
	t.Helper()
	want := map[string]string{}
	hop4, hop6 := ours4.String(), ours6.String()
	if o.address == gatewayLL {
		hop6 = "fe80::1"
	}
	if o.ext {
		hop4 = hop6
	}
	announced := 0
	for _, vip := range vips {
		switch {
		case vip.Addr().Is4() && o.v4:
			want[vip.String()] = hop4
			announced++
		case vip.Addr().Is6() && o.v6:
			want[vip.String()] = hop6
			announced++
		}
	}
	s.until("the gateway has learned", func() bool { return fmt.Sprint(theirs()) == fmt.Sprint(want) })
	hops4, hops6 := []netip.Addr{gateway4}, []netip.Addr{gateway6}
	if o.address == gatewayLL { // or its global one, which FRR tells beside
		hops6 = append(hops6, gatewayLL.WithZone(wireName))
	}
	if o.ext {
		hops4 = hops6
	}
	has := func(prefix string, hops []netip.Addr) bool {
		return slices.ContainsFunc(hops, func(hop netip.Addr) bool { return s.hasRoute(prefix, hop) })
	}
	s.until("we have learned", func() bool {
		return (!o.v4 || has(theirRoute, hops4) && has("0.0.0.0/0", hops4)) &&
			(!o.v6 || has("2001:db8:c::/48", hops6) && has("::/0", hops6))
	})
	status := s.peer("g")
	if len(status.Announced) != announced || status.HoldTime != 9*time.Second || status.Keepalive != 3*time.Second || status.UpdatesSent == 0 || status.UpdatesSeen == 0 {
		t.Errorf("status is %+v", status)
	}
}
