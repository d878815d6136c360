// SPDX-License-Identifier: Apache-2.0

package nl_test

import (
	order "cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
)

// countless compares links but for their history.
var countless = cmpopts.IgnoreFields(nl.Link{}, "CarrierDowns")

// pair makes two namespaces with a veth pair a-b between them.
func pair(t testing.TB) (nsA, nsB string, a, b nl.Link) {
	t.Helper()
	nsA, nsB = testutil.NetNS(t), testutil.NetNS(t)
	a, b, err := testutil.Handle(t, nsA).AddVeth(nl.Veth{
		Name: "a", MAC: macA, PeerName: "b", PeerMAC: macB, PeerNetNS: nsB, MTU: 1400, Alias: "weft:test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return nsA, nsB, a, b
}

func TestVeth(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	nsA, nsB, a, b := pair(t)
	wantA := nl.Link{Index: a.Index, Name: "a", Alias: "weft:test", Kind: "veth", MAC: macA, MTU: 1400, PeerIndex: b.Index}
	wantB := nl.Link{Index: b.Index, Name: "b", Kind: "veth", MAC: macB, MTU: 1400, PeerIndex: a.Index}
	for _, c := range []struct{ got, want nl.Link }{
		{a, wantA}, {b, wantB}, {testutil.Link(t, nsA, "a"), wantA}, {testutil.Link(t, nsB, "b"), wantB},
	} {
		if diff := cmp.Diff(c.want, c.got, countless); diff != "" {
			t.Error(diff)
		}
	}
	if a.Index == b.Index {
		t.Error("both ends have one index: carrier events would be late")
	}
	h := testutil.Handle(t, nsA)
	for _, name := range []string{"a", "other"} {
		peer := "b"
		if name == "a" {
			peer = "other"
		}
		_, _, err := h.AddVeth(nl.Veth{Name: name, PeerName: peer, PeerNetNS: nsB})
		if !errors.Is(err, nl.ErrExists) {
			t.Errorf("second pair %s-%s: %v, want ErrExists", name, peer, err)
		}
	}
	if _, _, err := h.AddVeth(nl.Veth{Name: "x", PeerName: "y", PeerNetNS: "/run/netns/missing"}); !errors.Is(err, netns.ErrNotFound) {
		t.Errorf("missing peer namespace: %v, want netns.ErrNotFound", err)
	}
	if err := h.DeleteLink(a.Index); err != nil {
		t.Fatal(err)
	}
	for _, c := range []error{
		h.DeleteLink(a.Index), h.SetUp(a.Index), h.SetDown(a.Index), h.SetAlias(a.Index, "x"),
		h.SetMAC(a.Index, macA), h.SetMTU(a.Index, 1500), h.Rename(a.Index, "z"),
		second(h.LinkByName("a")), second(h.LinkByIndex(a.Index)), second(testutil.Handle(t, nsB).LinkByName("b")),
	} {
		if !errors.Is(c, nl.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", c)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Fresh namespaces count interfaces alike, so that the indices meet often.
func TestVethIndicesDiffer(t *testing.T) {
	testutil.Require(t, "netns")
	for range 3 {
		nsA, nsB := testutil.NetNS(t), testutil.NetNS(t)
		h := testutil.Handle(t, nsA)
		for _, name := range []string{"p", "q", "r"} {
			a, b, err := h.AddVeth(nl.Veth{Name: name, PeerName: name, PeerNetNS: nsB})
			if err != nil {
				t.Fatal(err)
			}
			if a.Index == b.Index {
				t.Errorf("both ends of %s have index %d", name, a.Index)
			}
		}
	}
}

func TestVethWithinOneNamespace(t *testing.T) {
	testutil.Require(t, "netns")
	h := testutil.Handle(t, testutil.NetNS(t))
	a, b, err := h.AddVeth(nl.Veth{Name: "a", PeerName: "b", PeerUp: true})
	if err != nil {
		t.Fatal(err)
	}
	if a.Up || !b.Up || len(a.MAC) != 6 || len(b.MAC) != 6 {
		t.Errorf("a %+v, b %+v", a, b)
	}
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"a", "b", "lo"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestLinkChanges(t *testing.T) {
	testutil.Require(t, "netns")
	nsA, nsB, a, b := pair(t)
	h, hb := testutil.Handle(t, nsA), testutil.Handle(t, nsB)
	for _, err := range []error{
		h.SetUp(a.Index), h.SetUp(a.Index), hb.SetUp(b.Index), h.SetAlias(a.Index, "weft:other"),
		h.SetMAC(a.Index, macB), h.SetMTU(a.Index, 1300), hb.Rename(b.Index, "bb"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	got, err := h.LinkByIndex(a.Index)
	if err != nil {
		t.Fatal(err)
	}
	want := nl.Link{Index: a.Index, Name: "a", Alias: "weft:other", Kind: "veth", MAC: macB, MTU: 1300,
		PeerIndex: b.Index, Up: true, Carrier: true}
	if diff := cmp.Diff(want, got, countless); diff != "" {
		t.Error(diff)
	}
	if l := testutil.Link(t, nsB, "bb"); !l.Carrier {
		t.Error("no carrier on the peer")
	}
	if err := hb.SetDown(b.Index); err != nil {
		t.Fatal(err)
	}
	if l := testutil.Link(t, nsA, "a"); l.Carrier || !l.Up || l.CarrierDowns != got.CarrierDowns+1 {
		t.Errorf("after the peer went down: %+v, before %+v", l, got)
	}
}

// An interface's own setting is seen, that of sockets is not.
func TestAllMulticast(t *testing.T) {
	testutil.Require(t, "netns")
	ns, _, a, _ := pair(t)
	h := testutil.Handle(t, ns)
	for _, on := range []bool{true, true, false, false} {
		if err := h.SetAllMulticast(a.Index, on); err != nil {
			t.Fatal(err)
		}
		if l := testutil.Link(t, ns, "a"); l.AllMulticast != on {
			t.Errorf("all multicast is %t, want %t", l.AllMulticast, on)
		}
	}
	if err := h.SetAllMulticast(4711, true); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("interface that is not there: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	testutil.Require(t, "netns")
	nsA, _, a, _ := pair(t)
	h := testutil.Handle(t, nsA)
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("20.0.0.1/32"),
		netip.MustParsePrefix("2000::1/128"), netip.MustParsePrefix("fd00::1/64")}
	for _, p := range want {
		if err := h.AddAddress(a.Index, p); err != nil {
			t.Fatal(err)
		}
		if err := h.AddAddress(a.Index, p); !errors.Is(err, nl.ErrExists) {
			t.Errorf("second AddAddress(%s): %v, want ErrExists", p, err)
		}
		if owners, err := h.AddressOwners(); err != nil || !slices.Equal(owners[p.Addr()], []int{a.Index}) {
			t.Errorf("AddressOwners()[%s] = %v, %v, want %d", p, owners[p.Addr()], err, a.Index)
		}
	}
	got, err := h.Addresses(a.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		testutil.Eventually(t, limit, "delivery to "+p.String(), func() bool {
			ok, err := h.Delivers(p.Addr())
			return ok && err == nil
		})
		if ok, err := h.Delivers(p.Addr().Next()); ok || err != nil {
			t.Errorf("Delivers(%s) = %v, %v", p.Addr().Next(), ok, err)
		}
	}
	slices.SortFunc(got, func(x, y netip.Prefix) int { return order.Compare(x.String(), y.String()) })
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	for _, p := range want {
		if err := h.DeleteAddress(a.Index, p); err != nil {
			t.Error(err)
		}
		if err := h.DeleteAddress(a.Index, p); !errors.Is(err, nl.ErrNotFound) {
			t.Errorf("second DeleteAddress(%s): %v, want ErrNotFound", p, err)
		}
	}
	if owners, err := h.AddressOwners(); err != nil || owners[want[0].Addr()] != nil {
		t.Errorf("AddressOwners = %v, %v after the removal", owners, err)
	}
}

func TestNeighbours(t *testing.T) {
	testutil.Require(t, "netns")
	nsA, _, a, _ := pair(t)
	h := testutil.Handle(t, nsA)
	if err := h.SetUp(a.Index); err != nil {
		t.Fatal(err)
	}
	want := []nl.Neighbour{{netip.MustParseAddr("169.254.87.1"), macA}, {netip.MustParseAddr("fe80::57:4546:5401"), macA}}
	for _, n := range want {
		for _, mac := range []net.HardwareAddr{macB, n.MAC} { // the second replaces the first
			if err := h.AddNeighbour(a.Index, n.IP, mac); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := h.Neighbours(a.Index)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	for _, n := range want {
		if err := h.DeleteNeighbour(a.Index, n.IP); err != nil {
			t.Error(err)
		}
		if err := h.DeleteNeighbour(a.Index, n.IP); !errors.Is(err, nl.ErrNotFound) {
			t.Errorf("second DeleteNeighbour: %v, want ErrNotFound", err)
		}
	}
}

func TestRoutes(t *testing.T) {
	testutil.Require(t, "netns")
	nsA, _, a, _ := pair(t)
	h := testutil.Handle(t, nsA)
	if err := h.SetUp(a.Index); err != nil {
		t.Fatal(err)
	}
	v4, v6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	gw4, gw6 := netip.MustParseAddr("169.254.87.1"), netip.MustParseAddr("fe80::57:4546:5401")
	want := []nl.Route{
		{Index: a.Index, Prefix: v4, Gateway: gw4, Table: 7000, OnLink: true, Metric: 10},
		{Prefix: v4, Table: 7000, Blackhole: true, Metric: 4000},
		{Index: a.Index, Prefix: netip.MustParsePrefix("10.9.0.0/16"), Table: 7000},
		{Index: a.Index, Prefix: v6, Gateway: gw6, Table: 7000, OnLink: true, Metric: 10},
		{Prefix: v6, Table: 7000, Blackhole: true, Metric: 4000},
		{Prefix: netip.MustParsePrefix("10.8.0.0/16"), Table: 7000, Multipath: []nl.NextHop{
			{Index: a.Index, Gateway: gw4, OnLink: true, Weight: 1},
			{Index: a.Index, Gateway: netip.MustParseAddr("169.254.87.2"), OnLink: true, Weight: 3},
		}},
	}
	if used, err := h.UsedTables(); used[7000] || err != nil {
		t.Errorf("UsedTables = %v, %v before", used, err)
	}
	for _, r := range want {
		if err := h.AddRoute(r); err != nil {
			t.Fatal(err)
		}
		if err := h.AddRoute(r); !errors.Is(err, nl.ErrExists) {
			t.Errorf("second AddRoute(%+v): %v, want ErrExists", r, err)
		}
		if err := h.ReplaceRoute(r); err != nil {
			t.Errorf("ReplaceRoute(%+v): %v", r, err)
		}
	}
	got, err := h.Routes(7000)
	if err != nil {
		t.Fatal(err)
	}
	sorted := cmpopts.SortSlices(func(x, y nl.Route) bool {
		if x.Prefix == y.Prefix {
			return x.Metric < y.Metric
		}
		return x.Prefix.String() < y.Prefix.String()
	})
	if diff := cmp.Diff(want, got, sorted, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if used, err := h.UsedTables(); !used[7000] || err != nil {
		t.Errorf("UsedTables = %v, %v, want 7000 among them", used, err)
	}
	for _, r := range want {
		if err := h.DeleteRoute(r); err != nil {
			t.Errorf("DeleteRoute(%+v): %v", r, err)
		}
		if err := h.DeleteRoute(r); !errors.Is(err, nl.ErrNotFound) {
			t.Errorf("second DeleteRoute(%+v): %v, want ErrNotFound", r, err)
		}
	}
}

func TestRules(t *testing.T) {
	testutil.Require(t, "netns")
	h := testutil.Handle(t, testutil.NetNS(t))
	want := []nl.Rule{
		{From: netip.MustParsePrefix("20.0.0.1/32"), Table: 7000, Priority: 7000},
		{From: netip.MustParsePrefix("2000::1/128"), Table: 7000, Priority: 7000},
	}
	for _, r := range want {
		if err := h.AddRule(r); err != nil {
			t.Fatal(err)
		}
		if err := h.AddRule(r); !errors.Is(err, nl.ErrExists) {
			t.Errorf("second AddRule: %v, want ErrExists", err)
		}
	}
	got, err := h.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if used, err := h.UsedTables(); !used[7000] || err != nil {
		t.Errorf("UsedTables = %v, %v, want 7000 among them", used, err)
	}
	for _, r := range want {
		if err := h.DeleteRule(r); err != nil {
			t.Error(err)
		}
		if err := h.DeleteRule(r); !errors.Is(err, nl.ErrNotFound) {
			t.Errorf("second DeleteRule: %v, want ErrNotFound", err)
		}
	}
}
