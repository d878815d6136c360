// SPDX-License-Identifier: Apache-2.0

package bgp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// plain is a gateway with default options.
func plain() option {
	o := options()[0]
	o.us = func(*bgp.Peer) {}
	return o
}

// Changes of prefixes, peers and timers touch exactly what they are about: BIRD
// and FRR say that nothing else was reset.
func TestChangeWithoutFlap(t *testing.T) {
	testutil.CheckLeaks(t)
	birdNS, frrNS := wire(t), testutil.NetNS(t)
	otherWire(t, frrNS)
	o := plain()
	bird := router.StartBIRD(t, birdNS, o.birdConfig())
	frr := router.StartFRR(t, frrNS, `
router bgp 65002
 bgp router-id 198.18.0.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 198.18.0.1 remote-as 64512
 neighbor 198.18.0.1 timers connect 1
 address-family ipv4 unicast
  network 192.88.99.0/24
 exit-address-family
exit
`)
	other := gateway("frr", netip.MustParseAddr("198.18.0.2"))
	other.RemoteASN = 65002
	config := bgp.Config{Peers: []bgp.Peer{gateway("bird", gateway4), other}, Announce: vips[:1], GracefulRestart: 30 * time.Second}
	s := start(t, false, config)
	s.established("bird", "frr")
	s.until("both say so", func() bool {
		p := bird.Protocol("p1")
		return p.Info == "Established" && p.State == "up" && frr.BGP()["198.18.0.1"].State == "Established"
	})
	birdSince := bird.Protocol("p1").Since
	untouched := func(what string) {
		t.Helper()
		if n := frr.BGP()["198.18.0.1"]; n.State != "Established" || n.Established != 1 || n.Dropped != 0 {
			t.Fatalf("%s reset FRR's session: %+v", what, n)
		}
	}
	birdUntouched := func(what string) {
		t.Helper()
		if p := bird.Protocol("p1"); p.Info != "Established" || !near(p.Since, birdSince) {
			t.Fatalf("%s reset BIRD's session of %v: %+v", what, birdSince, p)
		}
	}

	for i := range 100 {
		config.Announce = vips[:1+i%2]
		s.set(config)
		want := 1 + i%2
		if i%10 < 2 {
			s.until("BIRD has the prefixes", func() bool { return len(bird.Routes("protocol p1")) == want })
		}
	}
	s.until("FRR has the prefixes", func() bool { return len(frrRoutes(frr)) == 2 })
	birdUntouched("100 changes of prefixes")
	untouched("100 changes of prefixes")
	if routes := bird.Routes("protocol p1"); len(routes) != 2 {
		t.Errorf("BIRD has learned what is not ours: %v", routes)
	}

	third := gateway("third", netip.MustParseAddr("192.0.2.3"))
	config.Peers = append(config.Peers, third)
	s.set(config)
	config.Peers = config.Peers[:2]
	s.set(config)
	birdUntouched("a peer that came and went")
	untouched("a peer that came and went")

	s.change(func(p *bgp.Peer) { p.MaxPrefixes = 1 })
	s.until("the limit holds", func() bool { status := s.peer("bird"); return status.Received == 2 && status.Refused == 1 })
	s.change(func(p *bgp.Peer) { p.MaxPrefixes = 0 })
	s.until("the limit is off", func() bool { return s.peer("bird").Refused == 0 })
	birdUntouched("a change of the limit")

	s.change(func(p *bgp.Peer) { p.HoldTime = 12 * time.Second })
	s.until("the hold time is in force", func() bool { return s.peer("bird").HoldTime == 12*time.Second })
	if p := bird.Protocol("p1"); near(p.Since, birdSince) {
		t.Error("the hold time changed without a reset")
	}
	untouched("another gateway's timer")
	if s.peer("frr").Flaps != 0 || s.peer("bird").Flaps != 1 {
		t.Errorf("flaps: %+v", s.Status())
	}
}

// near: BIRD counts from the start of the machine, and its times of day vary by
// microseconds.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < 10*time.Millisecond }

// otherWire joins this namespace with another gateway's.
func otherWire(t *testing.T, ns string) {
	t.Helper()
	own := testutil.Handle(t, "")
	link, peer, err := own.AddVeth(nl.Veth{Name: "ext2", PeerName: "ext2", PeerNetNS: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.DeleteLink(link.Index) })
	theirs := testutil.Handle(t, ns)
	for _, end := range []struct {
		h       *nl.Handle
		index   int
		address string
	}{{own, link.Index, "198.18.0.1/24"}, {theirs, peer.Index, "198.18.0.2/24"}} {
		if err := end.h.SetUp(end.index); err != nil {
			t.Fatal(err)
		}
		if err := end.h.AddAddress(end.index, netip.MustParsePrefix(end.address)); err != nil {
			t.Fatal(err)
		}
	}
}

// A disabled peer's session and routes are gone at once, also when graceful
// restart would keep them, and come back fast.
func TestDisabled(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	bird := router.StartBIRD(t, ns, plain().birdConfig())
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{gateway("g", gateway4)}, Announce: vips, GracefulRestart: 60 * time.Second})
	s.established("g")
	s.until("learned", func() bool { return len(s.Routes()) == 2 })
	s.change(func(p *bgp.Peer) { p.Disabled = "BFD is down" })
	if routes := s.Routes(); len(routes) != 0 {
		t.Errorf("routes of a disabled gateway: %v", routes)
	}
	s.until("BIRD has lost our routes", func() bool { return len(bird.Routes("protocol p1")) == 0 })
	s.lastError("g", "BFD is down")
	s.until("idle", func() bool { return s.peer("g").State == bgp.Idle })
	begun := time.Now()
	s.change(func(p *bgp.Peer) { p.Disabled = "" })
	s.established("g")
	t.Logf("established %v after it was enabled", time.Since(begun))
	s.until("announced", func() bool { return len(bird.Routes("protocol p1")) == 2 })
}

// What is wrong is told in plain words, and a password changes live.
func TestErrors(t *testing.T) {
	testutil.CheckLeaks(t)
	ns := wire(t)
	o := plain()
	o.bird = `password "right";`
	bird := router.StartBIRD(t, ns, o.birdConfig())
	peer := gateway("g", gateway4)
	peer.Password = "wrong"
	s := start(t, false, bgp.Config{Peers: []bgp.Peer{peer}, Announce: vips})
	s.lastError("g", "no answer to the TCP connection", "another MD5 password", "TCPMD5Failure")
	s.change(func(p *bgp.Peer) { p.Password = "" })
	s.lastError("g", "may expect an MD5 password", "TCPMD5Unexpected")
	begun := time.Now()
	s.change(func(p *bgp.Peer) { p.Password = "right" })
	s.established("g")
	t.Logf("established %v after the right password", time.Since(begun))

	s.change(func(p *bgp.Peer) { p.LocalASN = 64513 })
	s.lastError("g", "the gateway says: bad peer AS (ours is 64513)")
	s.change(func(p *bgp.Peer) { p.LocalASN, p.RemoteASN = 64512, 65009 })
	s.lastError("g", "AS 65001, not 65009")
	s.change(func(p *bgp.Peer) { p.RemoteASN = 65001 })
	s.established("g")
	bird.Stop()
	// The kernel of a gateway without a listener signs no RST, so it is not heard.
	s.lastError("g", "no answer", "another MD5 password or none, or no BGP")
	bird.Start()
	s.established("g")
	s.change(func(p *bgp.Peer) { p.TTLSecurity, p.HoldTime = 1, 3*time.Second }) // BIRD sends 1
	s.lastError("g", "lower TTL", "TCPMinTTLDrop")
}
