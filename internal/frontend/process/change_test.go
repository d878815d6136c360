// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// Changes change exactly what they are about: the sessions of BIRD, which stays,
// go on.
func TestChangeWithoutFlap(t *testing.T) {
	testutil.Require(t, "bird", "frr")
	w := newWorld(t, 2)
	// BIRD takes the AdminDown of a session that we take away for a failure, so its
	// BGP knows nothing of BFD here.
	bird := router.StartBIRD(t, w.gateways[1], strings.NewReplacer("bfd graceful;", "",
		"protocol bfd b1 {", "protocol bfd b1 { neighbor 192.0.2.100 dev \"eth0\" local 192.0.2.1;").Replace(birdConfig(1, false, true, true, "")))
	router.StartFRR(t, w.gateways[2], frrConfig)
	w.start()
	one, two := gateway(1, false, bgpOf(), calmBFD()), gateway(2, false, bgpOf(), calmBFD())
	c := config(one)
	w.set(c)
	w.eventually("the gateway is up", func(s frontend.Status) bool { return len(s.Gateways) == 1 && s.Gateways[0].Up })
	testutil.Eventually(t, awhile, "the VIP is learned", func() bool { return learned(bird) })
	bgpBefore, bfdBefore := birdUptime(bird)
	before := w.p.Status().Gateways[0]
	same := func(what string, watched bool) {
		t.Helper()
		a, b := birdUptime(bird)
		if a.Sub(bgpBefore).Abs() > time.Second/2 || watched && b.Sub(bfdBefore).Abs() > time.Second/2 {
			t.Errorf("%s: BIRD's sessions are since %v and %v, before %v and %v", what, a, b, bgpBefore, bfdBefore)
		}
		g := w.p.Status().Gateways[0]
		if !g.Up || g.BGP.Flaps != before.BGP.Flaps || !g.BGP.Since.Equal(before.BGP.Since) {
			t.Errorf("%s: %+v %+v", what, g, g.BGP)
		}
	}
	c.Announce = []netip.Prefix{vip6}
	w.set(c)
	testutil.Eventually(t, awhile, "the VIP is withdrawn", func() bool { return !learned(bird) })
	same("a VIP less", true)
	c.Announce = []netip.Prefix{vip4, vip6}
	w.set(c)
	testutil.Eventually(t, awhile, "the VIP is learned", func() bool { return learned(bird) })
	same("a VIP more", true)
	c.Gateways = []frontend.Gateway{one, two}
	w.set(c)
	w.allUp("a gateway more")
	w.eventually("the traffic is shared", func(s frontend.Status) bool { return len(s.Default4) == 2 })
	same("a gateway more", true)
	c.Gateways = []frontend.Gateway{one}
	w.set(c)
	w.eventually("one gateway", func(s frontend.Status) bool { return len(s.Gateways) == 1 && len(s.Default4) == 1 })
	same("a gateway less", true)
	slow := *calmBFD()
	slow.MinTx, slow.Multiplier = 200*time.Millisecond, 8
	c.Gateways[0].BFD = &slow
	w.set(c)
	w.eventually("another interval", func(s frontend.Status) bool { return s.Gateways[0].BFD.TxInterval == slow.MinTx })
	same("other timers", true)
	c.Gateways[0].BFD = nil
	w.set(c)
	testutil.Eventually(t, awhile, "BFD is shut down", func() bool { return bird.BFD()[0].State != "Up" })
	same("no BFD any more", false)
	c.Gateways[0].BFD = calmBFD()
	w.set(c)
	same("BFD again", false)
	w.eventually("BFD is up", func(s frontend.Status) bool { return s.Gateways[0].BFD.State == "up" && s.Gateways[0].Reason == "" })
	same("BFD up again", false)
}

// Strict mode keeps a session from beginning before BFD is up.
func TestStrict(t *testing.T) {
	testutil.Require(t, "bird")
	w := newWorld(t, 1)
	with, without := birdConfig(1, false, true, true, ""), birdConfig(1, false, true, false, "")
	bird := router.StartBIRD(t, w.gateways[1], without)
	w.start()
	b := bgpOf()
	b.Strict = true
	w.set(config(gateway(1, false, b, calmBFD())))
	w.eventually("BFD is waited for", func(s frontend.Status) bool {
		return len(s.Gateways) == 1 && strings.HasPrefix(s.Gateways[0].Reason, "BFD is not up yet") && s.Gateways[0].BGP.State == "idle"
	})
	bird.Configure(with)
	w.allUp("the gateway is up")
}

// A gateway that shuts its BFD session down is used on, unwatched.
func TestAdminDown(t *testing.T) {
	testutil.Require(t, "frr")
	w := newWorld(t, 2)
	frr := router.StartFRR(t, w.gateways[2], "bfd\n peer 192.0.2.100 interface eth0\n  receive-interval 300\n  transmit-interval 100\n exit\nexit\n")
	w.start()
	w.set(config(gateway(2, false, nil, calmBFD())))
	w.eventually("the gateway is up", func(s frontend.Status) bool { return len(s.Gateways) == 1 && s.Gateways[0].Up })
	frr.Apply("bfd", "peer 192.0.2.100 interface eth0", "shutdown")
	w.eventually("the gateway is not watched", func(s frontend.Status) bool {
		return strings.Contains(s.Gateways[0].Reason, "administratively down")
	})
	w.routesBecome(map[netip.Prefix]string{all4: "192.0.2.2"})
	frr.Apply("bfd", "peer 192.0.2.100 interface eth0", "no shutdown")
	w.eventually("the gateway is watched again", func(s frontend.Status) bool {
		return s.Gateways[0].Up && s.Gateways[0].Reason == ""
	})
	w.cut(2, true)
	w.routesBecome(map[netip.Prefix]string{})
}

// Far more prefixes than are taken are a remark about the gateway and no more.
func TestManyPrefixes(t *testing.T) {
	testutil.Require(t, "bird")
	w := newWorld(t, 1)
	var more strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&more, "route 10.%d.%d.0/24 blackhole;\n", i>>8, i&255)
	}
	router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, true, more.String()))
	w.start()
	start := time.Now()
	w.set(config(gateway(1, false, bgpOf(), calmBFD())))
	w.eventually("the prefixes are there", func(s frontend.Status) bool {
		return len(s.Gateways) == 1 && s.Gateways[0].Up && s.Gateways[0].BGP.Received > 10000
	})
	s := w.p.Status()
	b := s.Gateways[0].BGP
	t.Logf("%d prefixes after %v, %d refused: %s; %d routes", b.Received, time.Since(start), b.Refused, b.Refusal, len(s.Routes))
	if b.Refused == 0 || b.Refusal == "" || len(s.Routes) == 0 || len(s.Routes) > 1000 {
		t.Errorf("%d refused (%s), %d routes", b.Refused, b.Refusal, len(s.Routes))
	}
	w.eventually("as many routes in the kernel", func(now frontend.Status) bool {
		s = now
		return len(s.Routes) == b.Received-b.Refused && len(w.table()) == len(s.Routes)
	})
	// All of them go with the gateway.
	changed, last := w.watchGone(), time.Time{}
	w.cut(1, true)
	w.routesBecome(map[netip.Prefix]string{})
	w.eventually("BFD is down", func(s frontend.Status) bool { return s.Gateways[0].BFD.State == "down" })
	for _, r := range s.Routes {
		if at, ok := changed(r.Prefix); ok && at.After(last) {
			last = at
		}
	}
	detected := w.p.Status().Gateways[0].BFD.Since
	t.Logf("the last of %d routes went %v after the detection", len(s.Routes), last.Sub(detected))
	for _, prefix := range []netip.Prefix{all4, all6} { // those that count go first
		if at, ok := changed(prefix); ok && at.Sub(detected) > goneLimit {
			t.Errorf("%s went %v after the detection", prefix, at.Sub(detected))
		}
	}
}

// What is wrong is said by the name of its field, and changes nothing.
func TestRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	w.set(config(gateway(1, false, nil, nil)))
	for field, spoil := range map[string]func(*frontend.Config){
		"Table: 254":                     func(c *frontend.Config) { c.Table = 254 },
		"Interface: empty":               func(c *frontend.Config) { c.Interface = "" },
		"Announce[0]: 198.51.100.1/32":   func(c *frontend.Config) { c.Announce = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")} },
		"Gateways[gw1].BGP.LocalASN: 0":  func(c *frontend.Config) { c.Gateways[0].BGP = &frontend.BGP{RemoteASN: 1} },
		"Gateways[gw1].BFD.Multiplier":   func(c *frontend.Config) { c.Gateways[0].BFD = &frontend.BFD{MinTx: time.Second, MinRx: time.Second} },
		"Gateways[gw1].BGP.Strict: need": func(c *frontend.Config) { b := bgpOf(); b.Strict = true; c.Gateways[0].BGP = b },
	} {
		c := config(gateway(1, false, nil, nil))
		spoil(&c)
		if err := w.p.Set(context.Background(), c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	w.allUp("the gateway is up still")
	if s := w.p.Status(); !slices.Equal(s.Default4, []netip.Addr{gatewayAddr(1, false)}) {
		t.Errorf("default routes by %v", s.Default4)
	}
}
