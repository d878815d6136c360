// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// birdUptime is since when a BIRD gateway has its session with us, to the
// millisecond, and how often its BFD session has changed.
func birdUptime(b *router.BIRD) (bgp, bfd time.Time) {
	for _, s := range b.BFD() {
		bfd = s.Since
	}
	return b.Protocol("p1").Since, bfd
}

// learned says whether a BIRD gateway has the IPv4 VIP.
func learned(b *router.BIRD) bool {
	return slices.ContainsFunc(b.Routes("protocol p1"), func(r router.BIRDRoute) bool { return r.Prefix == vip4 })
}

// An endpoint that has gone and comes back finds the process: no session flaps.
func TestAdopt(t *testing.T) {
	testutil.Require(t, "bird", "frr")
	w := newWorld(t, 2)
	bird := router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, true, ""))
	frr := router.StartFRR(t, w.gateways[2], frrConfig)
	first := w.start()
	c := config(gateway(1, false, bgpOf(), calmBFD()), gateway(2, false, bgpOf(), calmBFD()))
	w.set(c)
	w.allUp("the gateways are up")
	testutil.Eventually(t, awhile, "the VIPs are learned", func() bool {
		return learned(bird) && len(frr.Routes("ip")["203.0.113.1/32"]) == 1
	})
	pid := first.Pid()
	bgpBefore, bfdBefore := birdUptime(bird)
	established := frr.BGP()["192.0.2.100"].Established
	flaps := func() (n uint64) {
		for _, g := range w.p.Status().Gateways {
			n += g.BGP.Flaps + g.BFD.Flaps
		}
		return n
	}
	flapsBefore := flaps()
	must(t, first.Detach())

	second := w.start()
	if got, ok := second.Adopted(); !ok || len(got.Announce) != 2 || got.Gateways[0].BGP.RemoteASN != theirAS {
		t.Errorf("adopted %+v, %v", got, ok)
	}
	if second.Pid() != pid {
		t.Errorf("process %d, before %d", second.Pid(), pid)
	}
	w.set(c)
	w.allUp("the gateways are up still")
	if a, b := birdUptime(bird); a.Sub(bgpBefore).Abs() > time.Second/2 || b.Sub(bfdBefore).Abs() > time.Second/2 {
		t.Errorf("BIRD: sessions since %v and %v, before %v and %v", a, b, bgpBefore, bfdBefore)
	}
	if n := frr.BGP()["192.0.2.100"]; n.Established != established {
		t.Errorf("FRR: established %d times, before %d", n.Established, established)
	}
	if n := flaps(); n != flapsBefore {
		t.Errorf("%d flaps, before %d: %s", n, flapsBefore, describe(w.p.Status()))
	}
}

// Nobody renews the lease: gateways are told, and nothing is left.
func TestLeaseEnds(t *testing.T) {
	testutil.Require(t, "bird")
	w := newWorld(t, 1)
	bird := router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, true, ""))
	p := w.start(func(o *Options) { o.Lease = time.Second })
	w.set(config(gateway(1, false, bgpOf(), calmBFD())))
	w.allUp("the gateway is up")
	testutil.Eventually(t, awhile, "the VIP is learned", func() bool { return learned(bird) })
	time.Sleep(1500 * time.Millisecond) // more than the lease, which is renewed
	if s := w.p.Status(); s.Gateways[0].BGP.Flaps != 0 || !s.Gateways[0].Up {
		t.Errorf("while the lease is renewed: %s", describe(s))
	}
	process, err := os.FindProcess(p.Pid())
	must(t, err)
	defer func() { _ = process.Release() }()
	start := time.Now()
	must(t, p.Detach())
	testutil.Eventually(t, awhile, "the VIP is withdrawn", func() bool { return !learned(bird) })
	t.Logf("withdrawn %v after the end of the endpoint, with a lease of 1 s", time.Since(start))
	if took := time.Since(start); took < 500*time.Millisecond || took > 3*time.Second {
		t.Errorf("withdrawn after %v", took)
	}
	_, _ = process.Wait()
	w.nothingLeft()
}

// The process is killed: it is started again at once, gateways keep the VIPs, and
// no route in the table changes.
func TestKilled(t *testing.T) {
	testutil.Require(t, "bird")
	for name, withBFD := range map[string]bool{"bgp": false, "bgp+bfd": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			bird := router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, withBFD, ""))
			g := gateway(1, false, bgpOf(), nil)
			if withBFD {
				g.BFD = calmBFD()
			}
			p := w.start()
			w.set(config(g))
			w.allUp("the gateway is up")
			testutil.Eventually(t, awhile, "the VIP is learned", func() bool { return learned(bird) })
			w.routesBecome(map[netip.Prefix]string{all4: "192.0.2.1", net4: "192.0.2.1", all6: "2001:db8::1", net6: "2001:db8::1"})
			changed := w.watchGone()
			pid, start := p.Pid(), time.Now()
			must(t, syscall.Kill(pid, syscall.SIGKILL))
			testutil.Eventually(t, awhile, "another process", func() bool { now := p.Pid(); return now != 0 && now != pid })
			t.Logf("another process %v after the kill", time.Since(start))
			lost := time.Duration(0)
			w.eventually("the gateway is up again", func(s frontend.Status) bool {
				if !learned(bird) && lost == 0 {
					lost = time.Since(start)
				}
				return len(s.Gateways) == 1 && s.Gateways[0].Up && s.Gateways[0].BGP.Since.After(start)
			})
			t.Logf("the gateway is up %v after the kill; the VIP was lost by the gateway after %v (0: never)", time.Since(start), lost)
			if lost != 0 && !withBFD {
				t.Errorf("the gateway lost the VIP %v after the kill", lost)
			}
			time.Sleep(2 * settle)
			// BIRD ends its BFD session with the BGP session that it watches, which is a
			// failure to us: with BFD the routes may go for a moment.
			for _, prefix := range []netip.Prefix{all4, net4, all6, net6} {
				if at, ok := changed(prefix); ok && withBFD {
					t.Logf("%s changed %v after the kill", prefix, at.Sub(start))
				} else if ok {
					t.Errorf("%s changed %v after the kill", prefix, at.Sub(start))
				}
			}
		})
	}
}

// settle is longer than a session may take to tell its routes.
const settle = 2 * time.Second

// A process of another version is replaced, with what it was doing.
func TestUpgrade(t *testing.T) {
	testutil.Require(t, "bird")
	w := newWorld(t, 1)
	bird := router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, false, ""))
	first := w.start()
	w.set(config(gateway(1, false, bgpOf(), nil)))
	w.allUp("the gateway is up")
	testutil.Eventually(t, awhile, "the VIP is learned", func() bool { return learned(bird) })
	w.routesBecome(map[netip.Prefix]string{all4: "192.0.2.1", net4: "192.0.2.1", all6: "2001:db8::1", net6: "2001:db8::1"})
	pid, changed := first.Pid(), w.watchGone()
	must(t, first.Detach())
	second := w.start(func(o *Options) { o.build = "another" })
	if c, ok := second.Adopted(); !ok || second.Pid() == pid || len(c.Announce) != 2 {
		t.Errorf("process %d, before %d; adopted %+v", second.Pid(), pid, c)
	}
	w.eventually("the gateway is up", func(s frontend.Status) bool {
		if !learned(bird) {
			t.Error("the gateway lost the VIP")
			return true
		}
		return len(s.Gateways) == 1 && s.Gateways[0].Up
	})
	if at, ok := changed(all4); ok {
		t.Errorf("a route changed at %v", at)
	}
}

// What a killed process has left in the kernel at any step is taken over or
// removed by the next one.
func TestLeftovers(t *testing.T) {
	hop := func(i int) nl.Route {
		return nl.Route{Prefix: all4, Gateway: gatewayAddr(i, false), OnLink: true, Table: testTabl, Metric: 100}
	}
	black := nl.Route{Prefix: all6, Blackhole: true, Table: testTabl, Metric: 1<<32 - 2}
	old := nl.Route{Prefix: net4, Gateway: gatewayAddr(9, false), OnLink: true, Table: testTabl, Metric: 100}
	rule := nl.Rule{From: netip.MustParsePrefix("203.0.113.77/32"), Table: testTabl, Priority: 2000}
	for name, left := range map[string]struct {
		routes []nl.Route
		rules  []nl.Rule
	}{
		"nothing":        {},
		"one blackhole":  {[]nl.Route{black}, nil},
		"a rule":         {[]nl.Route{black}, []nl.Rule{rule}},
		"a route":        {[]nl.Route{black, hop(1)}, nil},
		"another's hop":  {[]nl.Route{hop(7)}, nil},
		"an old network": {[]nl.Route{hop(1), old}, []nl.Rule{rule}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			h, index := testutil.Handle(t, w.ns), testutil.Link(t, w.ns, "ext0").Index
			for _, r := range left.routes {
				if !r.Blackhole {
					r.Index = index
				}
				must(t, h.AddRoute(r))
			}
			for _, r := range left.rules {
				must(t, h.AddRule(r))
			}
			w.start()
			w.set(config(gateway(1, false, nil, nil)))
			w.routesBecome(map[netip.Prefix]string{all4: "192.0.2.1"})
			rules, err := h.Rules()
			must(t, err)
			if len(rules) != 2 || rules[0].From != vip4 || rules[1].From != vip6 {
				t.Errorf("rules %v", rules)
			}
			must(t, w.p.Close(t.Context()))
			w.nothingLeft()
		})
	}
}

// One process serves a socket, and a Start of a second endpoint finds it.
func TestOneProcess(t *testing.T) {
	w := newWorld(t, 1)
	first := w.start()
	w.set(config(gateway(1, false, nil, nil)))
	second := w.start()
	if first.Pid() != second.Pid() {
		t.Errorf("processes %d and %d", first.Pid(), second.Pid())
	}
	must(t, second.Detach())
	if _, err := lockSocket(w.socket); err == nil {
		t.Error("a second process could serve the socket")
	}
}
