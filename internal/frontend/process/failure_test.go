// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

// goneLimit is how long after the detection a gateway's routes may still be
// there: ten times what is aimed at, because the machines of tests are shared. How
// long it took is logged.
const goneLimit = 100 * time.Millisecond

// watchGone records when routes of the table went or were replaced.
func (w *world) watchGone() func(netip.Prefix) (time.Time, bool) {
	w.t.Helper()
	var mu sync.Mutex
	gone := map[netip.Prefix]time.Time{}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	must(w.t, nl.WatchEvents(ctx, w.ns, func(e nl.Event) {
		if e.Kind == nl.RouteChanged && e.Route.Table == testTabl && !e.Route.Blackhole {
			mu.Lock()
			defer mu.Unlock()
			gone[e.Route.Prefix] = time.Now()
		}
	}))
	return func(p netip.Prefix) (time.Time, bool) {
		mu.Lock()
		defer mu.Unlock()
		at, ok := gone[p]
		return at, ok
	}
}

// BFD notices a cut wire, and within 10 ms the kernel's routes by that gateway are
// gone, also out of those that several share, while the other gateway's stay.
func TestRoutesGoWithBFD(t *testing.T) {
	testutil.Require(t, "bird")
	for name, withBGP := range map[string]bool{"bgp": true, "static": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			var b *frontend.BGP
			want := map[netip.Prefix]string{all4: "192.0.2.1 192.0.2.2"}
			left := map[netip.Prefix]string{all4: "192.0.2.2"}
			if withBGP {
				b = bgpOf()
				const both = "2001:db8::1 2001:db8::2"
				want[net4], want[all6], want[net6] = want[all4], both, both
				left[net4], left[all6], left[net6] = left[all4], "2001:db8::2", "2001:db8::2"
			}
			for i := 1; i <= 2; i++ {
				router.StartBIRD(t, w.gateways[i], birdConfig(i, false, withBGP, true, ""))
			}
			w.start()
			w.set(config(gateway(1, false, b, bfdOf()), gateway(2, false, b, bfdOf())))
			w.allUp("both gateways are up")
			w.routesBecome(want)
			changed := w.watchGone()
			told := make(chan time.Time, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var group sync.WaitGroup
			defer group.Wait()
			defer cancel()
			group.Go(func() {
				_ = w.p.Watch(ctx, func(s frontend.Status) {
					if len(s.Gateways) == 2 && !s.Gateways[0].Up {
						select {
						case told <- time.Now():
						default:
						}
					}
				})
			})
			cut := time.Now()
			w.cut(1, true)
			w.routesBecome(left)
			toldAt := <-told
			s := w.p.Status()
			detected := s.Gateways[0].BFD.Since
			for prefix := range want {
				at, ok := changed(prefix)
				if !ok {
					t.Errorf("no notification about %s", prefix)
				}
				t.Logf("%s: detected %v after the cut, changed %v after that", prefix, detected.Sub(cut), at.Sub(detected))
				if at.Sub(detected) > goneLimit {
					t.Errorf("%s changed %v after the detection", prefix, at.Sub(detected))
				}
			}
			t.Logf("told %v after the detection", toldAt.Sub(detected))
			if toldAt.Sub(detected) > goneLimit {
				t.Errorf("told %v after the detection", toldAt.Sub(detected))
			}
			if !s.Gateways[1].Up || s.Gateways[1].BFD.Flaps != 0 {
				t.Errorf("the other gateway: %+v", s.Gateways[1])
			}
			w.cut(1, false)
			w.allUp("both gateways are up again")
			w.routesBecome(want)
		})
	}
}

// The interface goes and comes back.
func TestInterfaceGoes(t *testing.T) {
	testutil.Require(t, "bird")
	w := newWorld(t, 1)
	router.StartBIRD(t, w.gateways[1], birdConfig(1, false, true, true, ""))
	w.start()
	w.set(config(gateway(1, false, bgpOf(), calmBFD())))
	w.allUp("the gateway is up")
	h := testutil.Handle(t, w.ns)
	index := testutil.Link(t, w.ns, "ext0").Index
	must(t, h.SetDown(index))
	w.eventually("a problem", func(s frontend.Status) bool { return s.Problem == "interface ext0 is down" && !s.Gateways[0].Up })
	w.routesBecome(map[netip.Prefix]string{})
	must(t, h.DeleteLink(index))
	w.eventually("another problem", func(s frontend.Status) bool { return s.Problem == "interface ext0 is missing" })
	w.join(w.ns, "ext0", 100)
	w.allUp("the gateway is up again")
	w.eventually("no problem", func(s frontend.Status) bool { return s.Problem == "" && len(s.Routes) == 4 })
}

// What somebody else takes away comes back, and what somebody else has made
// stays.
func TestForeignRoutes(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	w.set(config(gateway(1, false, nil, nil)))
	want := map[netip.Prefix]string{all4: "192.0.2.1"}
	w.routesBecome(want)
	h := testutil.Handle(t, w.ns)
	for _, err := range h.ChangeRoutes([]nl.RouteChange{{Op: nl.RouteDelete, Route: nl.Route{Prefix: all4, Table: testTabl, Metric: 100}}}) {
		must(t, err)
	}
	w.routesBecome(want)
	for _, r := range []nl.Route{
		{Prefix: all4, Table: testTabl, Metric: 1<<32 - 2, Blackhole: true},
	} {
		must(t, h.DeleteRoute(r))
		testutil.Eventually(t, awhile, "the blackhole", func() bool {
			routes, err := h.Routes(testTabl)
			must(t, err)
			return len(routes) == 3
		})
	}
	other := nl.Rule{From: netip.MustParsePrefix("198.51.100.7/32"), Table: testTabl + 1, Priority: 2000}
	must(t, h.AddRule(other), w.p.Close(t.Context()))
	rules, err := h.Rules()
	must(t, err)
	if len(rules) != 1 || rules[0] != other {
		t.Errorf("rules %v", rules)
	}
}
