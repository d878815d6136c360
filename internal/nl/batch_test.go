// SPDX-License-Identifier: Apache-2.0

package nl_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

const batchTable = 70001 // more than 8 bits

// external makes an interface with carrier in a namespace and returns its index.
func external(t *testing.T, ns string) (h *nl.Handle, index int) {
	t.Helper()
	h = testutil.Handle(t, ns)
	link, _, err := h.AddVeth(nl.Veth{Name: "ext0", PeerName: "ext1", PeerUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetUp(link.Index); err != nil {
		t.Fatal(err)
	}
	return h, link.Index
}

func noErrors(t *testing.T, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func sortRoutes(routes []nl.Route) []nl.Route {
	routes = slices.Clone(routes)
	slices.SortFunc(routes, func(a, b nl.Route) int { return a.Prefix.Compare(b.Prefix) })
	return routes
}

func TestChangeRoutes(t *testing.T) {
	testutil.Require(t, "netns")
	ns := testutil.NetNS(t)
	testutil.CheckLeaks(t)
	h, index := external(t, ns)
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	hop := func(addr string) nl.NextHop {
		return nl.NextHop{Index: index, Gateway: a(addr), Weight: 1, OnLink: true}
	}
	route := func(prefix string, via ...string) nl.Route {
		r := nl.Route{Prefix: p(prefix), Table: batchTable, Metric: 5}
		if len(via) == 1 {
			r.Index, r.Gateway, r.OnLink = index, a(via[0]), true
			return r
		}
		for _, v := range via {
			r.Multipath = append(r.Multipath, hop(v))
		}
		return r
	}
	check := func(what string, want ...nl.Route) {
		t.Helper()
		got, err := h.Routes(batchTable)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sortRoutes(want), sortRoutes(got), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", what, diff)
		}
	}
	first := []nl.Route{
		route("0.0.0.0/0", "192.0.2.1", "192.0.2.2"),
		route("::/0", "2001:db8::1", "2001:db8::2"),
		route("198.51.100.0/24", "fe80::1"),
		route("203.0.113.0/24", "fe80::1", "192.0.2.1"),
		route("2001:db8:1::/48", "fe80::1"),
	}
	var changes []nl.RouteChange
	for _, r := range first {
		changes = append(changes, nl.RouteChange{Op: nl.RouteAdd, Route: r})
	}
	noErrors(t, h.ChangeRoutes(changes))
	check("added", first...)

	errs := h.ChangeRoutes([]nl.RouteChange{
		{Op: nl.RouteAdd, Route: first[0]},
		{Op: nl.RouteReplace, Route: route("::/0", "2001:db8::2")},
		{Op: nl.RouteReplace, Route: route("0.0.0.0/0", "fe80::2", "192.0.2.2")},
		{Op: nl.RouteDelete, Route: route("10.0.0.0/8")},
		{Op: nl.RouteReplace, Route: route("198.51.100.0/24", "192.0.2.1", "192.0.2.2")},
		{Op: nl.RouteDelete, Route: first[3]},
	})
	if !errors.Is(errs[0], nl.ErrExists) || !errors.Is(errs[3], nl.ErrNotFound) {
		t.Errorf("a route that exists is %v, one that does not %v", errs[0], errs[3])
	}
	errs[0], errs[3] = nil, nil
	noErrors(t, errs)
	check("changed", route("0.0.0.0/0", "fe80::2", "192.0.2.2"), route("::/0", "2001:db8::2"),
		route("198.51.100.0/24", "192.0.2.1", "192.0.2.2"), first[4])
	noErrors(t, h.ChangeRoutes([]nl.RouteChange{
		{Op: nl.RouteReplace, Route: first[1]}, {Op: nl.RouteReplace, Route: route("2001:db8:1::/48", "fe80::1", "fe80::2")},
	}))
	check("more next hops", route("0.0.0.0/0", "fe80::2", "192.0.2.2"), first[1],
		route("198.51.100.0/24", "192.0.2.1", "192.0.2.2"), route("2001:db8:1::/48", "fe80::1", "fe80::2"))
}

// More changes than answers fit into the socket's buffer.
func TestChangeManyRoutes(t *testing.T) {
	testutil.Require(t, "netns")
	ns := testutil.NetNS(t)
	testutil.CheckLeaks(t)
	h, index := external(t, ns)
	var add, remove []nl.RouteChange
	for i := range 5000 {
		r := nl.Route{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), Table: batchTable, Metric: 5,
			Index: index, Gateway: netip.MustParseAddr("192.0.2.1"), OnLink: true,
		}
		if i%2 == 1 {
			r.Prefix = netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::/48", i))
			r.Gateway = netip.MustParseAddr("fe80::1")
		}
		add = append(add, nl.RouteChange{Op: nl.RouteAdd, Route: r})
		remove = append(remove, nl.RouteChange{Op: nl.RouteDelete, Route: r})
	}
	start := time.Now()
	noErrors(t, h.ChangeRoutes(add))
	added := time.Since(start)
	start = time.Now()
	noErrors(t, h.ChangeRoutes(remove))
	t.Logf("%d routes: added in %v, deleted in %v", len(add), added, time.Since(start))
	if left, err := h.Routes(batchTable); err != nil || len(left) > 0 {
		t.Errorf("%d routes are left: %v", len(left), err)
	}
}

func TestWatchEvents(t *testing.T) {
	testutil.Require(t, "netns")
	ns := testutil.NetNS(t)
	testutil.CheckLeaks(t)
	h, index := external(t, ns)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan nl.Event, 1000)
	if err := nl.WatchEvents(ctx, ns, func(e nl.Event) { events <- e }); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, ok func(nl.Event) bool) {
		t.Helper()
		limit := time.After(5 * time.Second)
		for {
			select {
			case e := <-events:
				if ok(e) {
					return
				}
			case <-limit:
				t.Fatalf("not told of %s", what)
			}
		}
	}
	addr := netip.MustParsePrefix("192.0.2.9/24")
	if err := h.AddAddress(index, addr); err != nil {
		t.Fatal(err)
	}
	expect("an address", func(e nl.Event) bool { return e.Kind == nl.AddressChanged && e.Index == index && !e.Gone })
	r := nl.Route{Prefix: netip.MustParsePrefix("2001:db8::/32"), Table: batchTable, Metric: 5, Index: index,
		Gateway: netip.MustParseAddr("fe80::1"), OnLink: true}
	noErrors(t, h.ChangeRoutes([]nl.RouteChange{{Op: nl.RouteAdd, Route: r}, {Op: nl.RouteDelete, Route: r}}))
	for _, gone := range []bool{false, true} {
		want := nl.Event{Kind: nl.RouteChanged, Gone: gone, Route: nl.Route{Prefix: r.Prefix, Table: r.Table, Metric: r.Metric}}
		expect("a route", func(e nl.Event) bool {
			return cmp.Equal(e, want, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}))
		})
	}
	if err := h.DeleteLink(index); err != nil {
		t.Fatal(err)
	}
	expect("the end of a link", func(e nl.Event) bool { return e.Kind == nl.LinkChanged && e.Index == index && e.Gone })
}
