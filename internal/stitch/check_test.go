// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

func (n *node) check(t *testing.T, repair bool) []Difference {
	t.Helper()
	found, err := n.Check(t.Context(), repair)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Everything that can be taken away or spoilt by hand is found and mended.
func TestCheck(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(1), n.leg(0)) // the kernel has them in another order
	if found := n.check(t, true); len(found) != 0 {
		t.Fatalf("nothing is wrong, but: %+v", found)
	}
	h, host, endpoint := testutil.Handle(t, n.workload), testutil.Handle(t, n.host), testutil.Handle(t, n.endpoints[0])
	first := func(rules []nl.Rule, err error) nl.Rule {
		if err != nil || len(rules) == 0 {
			t.Fatal(rules, err)
		}
		return rules[0]
	}
	for _, test := range []struct {
		name  string
		spoil func(index int, p PortStatus) error
		want  string
	}{
		{"address", func(index int, _ PortStatus) error { return h.DeleteAddress(index, prefix("172.16.1.10/32")) }, "lacks address 172.16.1.10/32"},
		{"VIP", func(index int, _ PortStatus) error { return h.DeleteAddress(index, vip6) }, "lacks address 2000::1/128"},
		{"rule", func(int, PortStatus) error { return h.DeleteRule(first(h.Rules())) }, "lacks rule "},
		{"neighbour", func(index int, _ PortStatus) error { return h.DeleteNeighbour(index, gateway4) }, "lacks neighbour 169.254.87.1"},
		{"MTU", func(index int, _ PortStatus) error { return h.SetMTU(index, 1300) }, "should have MTU 1500"},
		{"program", func(_ int, p PortStatus) error { return host.LeaveIngressBlock(p.Outer) }, "lacks the cross-connect's program"},
		{"endpoint's program", func(_ int, p PortStatus) error { return host.LeaveIngressBlock(p.Legs[1].Outer) }, "lacks the cross-connect's program"},
		{"client's entry", func(_ int, p PortStatus) error { return n.xc.SetClient(p.Outer, nil) }, "the cross-connect's entry has other legs"},
		{"endpoint's entry", func(_ int, p PortStatus) error { return n.xc.SetEndpoint(p.Legs[0].Outer, 1, 0) }, "the endpoint's frames do not lead to the client"},
		{"endpoint's address", func(int, PortStatus) error {
			return endpoint.DeleteAddress(testutil.Link(t, n.endpoints[0], "leg-a").Index, prefix("172.16.0.1/32"))
		}, "lacks address 172.16.0.1/32"},
	} {
		p := n.port(t)
		if err := test.spoil(p.IfIndex, p); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		found := n.check(t, false)
		if len(found) == 0 || !strings.HasPrefix(found[0].Problem, test.want) && !strings.HasSuffix(found[0].Problem, test.want) || found[0].Repaired {
			t.Errorf("%s: found %+v, want %q", test.name, found, test.want)
		}
		found = n.check(t, true)
		if len(found) == 0 || !found[0].Repaired {
			t.Errorf("%s: not repaired: %+v", test.name, found)
		}
		if found = n.check(t, false); len(found) != 0 {
			t.Errorf("%s: after the repair: %+v", test.name, found)
		}
		if now := n.port(t); now.IfIndex != p.IfIndex || !cmp.Equal(now.Legs, p.Legs) {
			t.Errorf("%s: the repair changes %+v to %+v", test.name, p, now)
		}
	}
}

// An interface that somebody has deleted is made again, as it was.
func TestCheckMakesInterfacesAgain(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0), n.leg(1))
	before := n.state(t)
	for _, victim := range []struct{ ns, name string }{{n.workload, "nsm-1"}, {n.endpoints[1], "leg-a"}} {
		if err := testutil.Handle(t, victim.ns).DeleteLink(testutil.Link(t, victim.ns, victim.name).Index); err != nil {
			t.Fatal(err)
		}
		if found := n.check(t, true); len(found) == 0 || !strings.Contains(found[0].Problem, "missing") {
			t.Errorf("%s: found %+v", victim.name, found)
		}
		testutil.Eventually(t, limit, "nothing differs", func() bool { return len(n.check(t, true)) == 0 })
		if diff := cmp.Diff(anyIndex(before), anyIndex(n.state(t))); diff != "" {
			t.Errorf("%s: not the same again: %s", victim.name, diff)
		}
	}
}

// What belongs to nobody is named, and removed on demand only.
func TestCheckFindsStrays(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	before := n.state(t)
	_, _, err := testutil.Handle(t, n.host).AddVeth(nl.Veth{
		Name: endpointPrefix + "stray", Alias: endpointAlias + "nobody", PeerName: "stray", PeerNetNS: n.workload,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.xc.SetClient(4711, nil); err != nil {
		t.Fatal(err)
	}
	for _, repair := range []bool{false, true} {
		if found := n.check(t, repair); len(found) != 2 || found[0].Repaired != repair {
			t.Errorf("repair %v: found %+v", repair, found)
		}
	}
	if found := n.check(t, false); len(found) != 0 {
		t.Errorf("after the repair: %+v", found)
	}
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}
