// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// frrGateway is a gateway of both families for replica 1.
const frrGateway = `router bgp 65002
 bgp router-id 10.1.0.254
 no bgp ebgp-requires-policy
 neighbor 10.1.0.1 remote-as 65001
 neighbor 10.1.0.1 bfd
 neighbor 10.1.0.1 timers connect 1
 neighbor fd01::1 remote-as 65001
 neighbor fd01::1 bfd
 neighbor fd01::1 timers connect 1
 address-family ipv4 unicast
  neighbor 10.1.0.1 default-originate
 exit-address-family
 address-family ipv6 unicast
  neighbor fd01::1 activate
  neighbor fd01::1 default-originate
 exit-address-family
exit
`

// frrHops are the next hops that FRR has put into the kernel for a VIP.
func frrHops(f *router.FRR, vip netip.Addr) string {
	family := "ip"
	if vip.Is6() {
		family = "ipv6"
	}
	var hops []string
	for _, r := range f.Routes(family)[netip.PrefixFrom(vip, vip.BitLen()).String()] {
		for _, h := range r.NextHops {
			if r.Selected && r.Installed && h.Active {
				hops = append(hops, h.IP)
			}
		}
	}
	return strings.Join(hops, " ")
}

// TestFrontendFRR: announcing, traffic and withdrawing with FRR as the gateway.
func TestFrontendFRR(t *testing.T) {
	testutil.Require(t, "frr")
	s := newStack(t)
	o := newWire(t)
	frr := router.StartFRR(t, o.router, frrGateway)
	s.apply(bgpGateways(""))
	s.addReplica(o, "trench-a", 1)
	testutil.Eventually(t, 60*time.Second, "sessions", func() bool {
		all := frr.BGP()
		return all["10.1.0.1"].State == "Established" && all["fd01::1"].State == "Established"
	})
	web := s.addWorkload("w1")
	web.attach("trench-a", "web")
	testutil.Eventually(t, 30*time.Second, "routes to both VIPs", func() bool {
		return frrHops(frr, vips[0]) == "10.1.0.1" && frrHops(frr, vips[1]) != ""
	})
	o.reach(webPort, web)
	web.detach("trench-a")
	testutil.Eventually(t, 30*time.Second, "no route to a VIP", func() bool {
		return frrHops(frr, vips[0]) == "" && frrHops(frr, vips[1]) == ""
	})
	s.says("NoTarget", "get", "vips", "-o", "json")
}

// TestFrontendWrong: what is wrong outside is told, and works when it is put
// right.
func TestFrontendWrong(t *testing.T) {
	testutil.Require(t, "bird")
	s := newStack(t)
	o := newWire(t)
	bird := router.StartBIRD(t, o.router, o.birdOf("", 1))
	r := s.addReplica(o, "trench-a", 1)

	var taken []net.Listener
	must(t, netns.Do(r.netns, func() error {
		for _, address := range []string{"0.0.0.0:179", "[::]:179"} {
			network := "tcp4"
			if strings.HasPrefix(address, "[") {
				network = "tcp6"
			}
			l, err := net.Listen(network, address)
			if err != nil {
				return err
			}
			taken = append(taken, l)
		}
		return nil
	}))
	t.Cleanup(func() {
		for _, l := range taken {
			_ = l.Close()
		}
	})
	s.apply(bgpGateways(""))
	s.says("address already in use", "get", "attractors", "-o", "json")
	for _, l := range taken {
		must(t, l.Close())
	}
	established(t, bird)

	s.apply(strings.ReplaceAll(bgpGateways(""), "remote-asn: 65002", "remote-asn: 65009"))
	s.says("AS", "get", "gateways", "-o", "json")
	s.apply(strings.ReplaceAll(bgpGateways(""), "local-asn: 65001", "local-asn: 65008"))
	s.says("bad peer AS", "get", "gateways", "-o", "json")
	s.apply(bgpGateways(""))
	established(t, bird)

	withHandle(t, r.netns, func(h *nl.Handle) {
		link, err := h.LinkByName(external)
		must(t, err)
		must(t, h.DeleteLink(link.Index))
	})
	s.says("the external interface ext0 is missing", "get", "attractors", "-o", "json")
	s.says("the external interface ext0 is missing", "frontend", "show")
}

// block returns the first code block of a language in a document.
func block(t *testing.T, path, language string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	code, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal(errors.New(path + " has no " + language))
	}
	return code
}

// TestFrontendDocumented: the routers' configurations in the documentation work.
func TestFrontendDocumented(t *testing.T) {
	const document = "../docs/frontend.md"
	for _, name := range []string{"bird", "frr"} {
		t.Run(name, func(t *testing.T) {
			testutil.Require(t, name)
			s := newStack(t)
			o := newWire(t)
			secret := filepath.Join(s.dir, "secrets", "bgp", "router-1")
			must(t, os.MkdirAll(filepath.Dir(secret), 0o700))
			must(t, os.WriteFile(secret, []byte("the-key\n"), 0o600))
			s.apply(bgpGateways(", auth: {key-source: bgp, key-name: router-1}"))
			s.addReplica(o, "trench-a", 1)
			var up func() bool
			var hop func() string
			if name == "bird" {
				bird := router.StartBIRD(t, o.router, block(t, document, name))
				up = func() bool { return bird.Protocol("lb1").Info == "Established" }
				hop = func() string { return strings.Join(hops(bird, vips[0]), " ") }
			} else {
				frr := router.StartFRR(t, o.router, block(t, document, name))
				up = func() bool { return frr.BGP()["10.1.0.1"].State == "Established" }
				hop = func() string { return frrHops(frr, vips[0]) }
			}
			testutil.Eventually(t, 60*time.Second, "the session", up)
			web := s.addWorkload("w1")
			web.attach("trench-a", "web")
			testutil.Eventually(t, 60*time.Second, "a route to the VIP", func() bool { return hop() == "10.1.0.1" })
			o.reachAt(netip.AddrPortFrom(vips[0], webPort), web)
		})
	}
}
