// SPDX-License-Identifier: Apache-2.0

package router

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// BIRD and FRR, joined by a wire, speak BGP and BFD with each other.
func TestRouters(t *testing.T) {
	testutil.Require(t, "netns", "bird", "frr")
	testutil.CheckLeaks(t)
	birdNS, frrNS := wire(t)
	const birdConfig = `
router id 192.0.2.1;
protocol device { }
protocol bfd b1 { accept direct; interface "*" { interval 100 ms; multiplier 5; }; }
protocol static s1 { ipv4; route 198.51.100.0/24 blackhole; }
protocol bgp p1 {
	local 192.0.2.1 as 65001; neighbor 192.0.2.2 as 65002; bfd on; connect delay time 1; error wait time 1, 2;
	ipv4 { import all; export all; };
}
`
	bird := StartBIRD(t, birdNS, birdConfig)
	frr := StartFRR(t, frrNS, `
router bgp 65002
 no bgp ebgp-requires-policy
 neighbor 192.0.2.1 remote-as 65001
 neighbor 192.0.2.1 bfd
 neighbor 192.0.2.1 timers connect 1
 address-family ipv4 unicast
  network 203.0.113.0/24
 exit-address-family
exit
ip route 203.0.113.0/24 blackhole
`)
	up := func() bool {
		b, f := bird.BFD(), frr.BFD()
		return len(b) == 1 && b[0].State == "Up" && len(f) == 1 && f[0].Status == "up" &&
			bird.Protocol("p1").Info == "Established" && frr.BGP()["192.0.2.1"].State == "Established"
	}
	testutil.Eventually(t, 30*time.Second, "the sessions are up", up)
	testutil.Eventually(t, 10*time.Second, "both have learned the other's route", func() bool {
		return len(bird.Routes("protocol p1")) == 1 && len(frr.Routes("ip")["198.51.100.0/24"]) == 1
	})
	if route := bird.Routes("protocol p1")[0]; route.Prefix.String() != "203.0.113.0/24" || !route.Best ||
		len(route.NextHops) != 1 || route.NextHops[0] != netip.MustParseAddr("192.0.2.2") {
		t.Errorf("BIRD learned %+v", route)
	}
	if p := bird.Protocol("p1"); p.Proto != "BGP" || p.Values["Neighbor AS"] != "65002" || time.Since(p.Since) > time.Minute {
		t.Errorf("BIRD's protocol is %+v", p)
	}
	if s := frr.BFD()[0]; s.Peer.String() != "192.0.2.1" || s.ControlIn == 0 || s.Ups == 0 {
		t.Errorf("FRR's session is %+v", s)
	}

	since := bird.BFD()[0].Since
	bird.Configure(strings.Replace(birdConfig, "100 ms", "200 ms", 1))
	testutil.Eventually(t, 10*time.Second, "FRR sees the interval", func() bool { return frr.BFD()[0].RemoteTransmit == 200 })
	frr.Apply("router bgp 65002", "neighbor 192.0.2.1 description wire")
	if now := bird.BFD()[0].Since; now.Sub(since).Abs() > time.Millisecond || !up() {
		t.Errorf("a change of the interval had an effect on the session: since %v, was %v", now, since)
	}

	frr.Kill("bgpd", "bfdd")
	testutil.Eventually(t, 10*time.Second, "BIRD sees the end of FRR", func() bool { return bird.BFD() == nil || bird.BFD()[0].State == "Down" })
	frr.Start()
	testutil.Eventually(t, 30*time.Second, "the sessions are up again", up)
	bird.Stop()
	bird.Start("-R")
	testutil.Eventually(t, 30*time.Second, "the sessions are up once more", up)
}

// wire joins two new namespaces: 192.0.2.1 in the first one, 192.0.2.2 in the other.
func wire(t *testing.T) (a, b string) {
	t.Helper()
	a, b = testutil.NetNS(t), testutil.NetNS(t)
	h := testutil.Handle(t, a)
	if _, _, err := h.AddVeth(nl.Veth{Name: "wire", PeerName: "wire", PeerNetNS: b}); err != nil {
		t.Fatal(err)
	}
	for ns, address := range map[string]string{a: "192.0.2.1/24", b: "192.0.2.2/24"} {
		h, index := testutil.Handle(t, ns), testutil.Link(t, ns, "wire").Index
		if err := h.AddAddress(index, netip.MustParsePrefix(address)); err != nil {
			t.Fatal(err)
		}
		if err := h.SetUp(index); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}
