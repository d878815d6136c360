// SPDX-License-Identifier: Apache-2.0

package test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

// answers waits until a destination is served by exactly these workloads: how
// the resources reach the data path is not for the test to know.
func (o *site) answers(to netip.AddrPort, workloads ...*workload) {
	o.t.Helper()
	var want []string
	for _, w := range workloads {
		want = append(want, w.name)
	}
	testutil.Eventually(o.t, patience, to.String()+" to be served by others", func() bool {
		tally := traffic.AskMany(o.dial(), "udp", []netip.AddrPort{to}, 16, 8, pollTimeout)
		for server := range tally.ByServer {
			if !slices.Contains(want, server) {
				return false
			}
		}
		if len(workloads) == 0 {
			return tally.Answered == 0
		}
		return tally.Answered == tally.Asked
	})
	if len(workloads) > 0 {
		o.reachAt(to, workloads...)
	}
}

// hasVIP tells whether a workload's interface has an address.
func (w *workload) hasVIP(vip netip.Addr) (has bool) {
	withHandle(w.stack.t, w.netns, func(h *nl.Handle) {
		link, err := h.LinkByName(nic)
		must(w.stack.t, err)
		addresses, err := h.Addresses(link.Index)
		must(w.stack.t, err)
		has = slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr() == vip })
	})
	return has
}

// TestLiveResources: every change of a resource takes effect while traffic of
// what it does not concern loses nothing, moves nowhere and keeps every
// connection.
func TestLiveResources(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	web := []*workload{s.addWorkload("w1", "7000", "7001", "7002", "8000"), s.addWorkload("w2", "7000", "7001", "7002", "8000")}
	other := s.addWorkload("w3", "7000", "7001", "7002", "8000")
	for _, w := range web {
		w.attach("trench-a", "web")
	}
	other.attach("trench-a", "api")
	s.awaitTargets("trench-a", "web", web...)
	s.awaitTargets("trench-a", "api", other)
	l := o.load(destinations(webPort)...)
	four, six := netip.MustParseAddr("20.0.0.2"), netip.MustParseAddr("2000::2")
	o.use([]byte{1, 2}, four, six)

	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a VIP is added to a flow", func() {
			s.apply(vip("vip-2", "20.0.0.2/32") + flow("web-2", "web", "vip-2", "5000", 1))
			o.answers(netip.AddrPortFrom(four, webPort), web...)
		}},
		{"a VIP of the other family", func() {
			s.apply(vip("vip-3", "2000::2/128") + flow("web-2", "web", "vip-2,vip-3", "5000", 1))
			o.answers(netip.AddrPortFrom(six, webPort), web...)
		}},
		{"a VIP is removed again", func() {
			s.remove("flow", "web-2", "-n", "trench-a")
			s.remove("vip", "vip-2", "vip-3", "-n", "trench-a")
			o.answers(netip.AddrPortFrom(four, webPort))
			testutil.Eventually(t, patience, "the VIPs to leave the workloads", func() bool {
				return !web[0].hasVIP(four) && !web[1].hasVIP(six)
			})
		}},
		{"a flow is added", func() {
			s.apply(flow("more", "web", "vip-v4,vip-v6", "7000", 1))
			o.answers(netip.AddrPortFrom(vips[0], 7000), web...)
		}},
		{"a range of ports", func() {
			s.apply(flow("more", "web", "vip-v4,vip-v6", "7000-7001,7002", 1))
			o.answers(netip.AddrPortFrom(vips[1], 7001), web...)
			o.answers(netip.AddrPortFrom(vips[0], 7002), web...)
			o.silent(netip.AddrPortFrom(vips[0], 7003))
		}},
		{"a flow of higher priority", func() {
			s.apply(flow("prior", "api", "vip-v4,vip-v6", "7001", 10))
			o.answers(netip.AddrPortFrom(vips[0], 7001), other)
			o.answers(netip.AddrPortFrom(vips[0], 7000), web...)
		}},
		{"its priority falls", func() {
			s.apply(flow("more", "web", "vip-v4,vip-v6", "7000-7001,7002", 20))
			o.answers(netip.AddrPortFrom(vips[0], 7001), web...)
		}},
		{"the flows are removed", func() {
			s.remove("flow", "more", "prior", "-n", "trench-a")
			o.answers(netip.AddrPortFrom(vips[0], 7001))
		}},
		{"a new stream", func() {
			s.apply(streamAndFlow("new", 100, "8000"))
			// The replicas carry it out a moment later than it is stored.
			testutil.Eventually(t, patience, "the stream to be known", func() bool {
				return !slices.ContainsFunc(s.replicas, func(r *replica) bool {
					return r.Component().Balancer().Snapshot().Stream("new").Name == ""
				})
			})
			other.update("trench-a", []string{"new"}, nil)
			o.answers(netip.AddrPortFrom(vips[0], 8000), other)
		}},
		{"a bad file", func() {
			before := s.settled(web...)
			if a := s.weft(s.AdminSocket(), flow("web", "nowhere", "vip-v4", "5000", 1), "apply", "-f", "-"); a.code == 0 {
				t.Error("a flow of an unknown stream is accepted")
			}
			s.unchanged(before, "a bad file", web...)
		}},
	} {
		step.do()
		l.untouched(step.name)
	}
	o.reach(webPort, web...)
}
