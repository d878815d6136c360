// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

const limit = 10 * time.Second

// bed is a node with an interface eth0, and a frontend.
type bed struct {
	t              testing.TB
	host, frontend string
	eth            nl.Link
}

func newBed(t testing.TB) *bed {
	t.Helper()
	testutil.Require(t, "netns")
	b := &bed{t: t, host: testutil.NetNS(t), frontend: testutil.NetNS(t)}
	b.plug(b.host)
	return b
}

// plug puts an eth0 into a namespace.
func (b *bed) plug(ns string) {
	b.t.Helper()
	h := testutil.Handle(b.t, ns)
	eth, _, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "peer", PeerNetNS: testutil.NetNS(b.t), PeerUp: true})
	must(b.t, err, h.SetUp(eth.Index))
	b.eth = eth
}

func (b *bed) spec(kind, name string) Spec {
	return Spec{
		Attractor: "attr", Replica: "lb-1", Type: kind, Name: name, NetNS: b.frontend, HostNetNS: b.host, Base: "eth0",
		IPv4: "10.0.0.2-10.0.0.9/24", IPv6: "fd00::/64",
	}
}

func (b *bed) open(spec Spec) *Interface {
	b.t.Helper()
	i, err := Open(b.t.Context(), spec, Deps{})
	must(b.t, err)
	b.t.Cleanup(func() { must(b.t, i.Close(context.Background())) })
	return i
}

func ready(t testing.TB, i *Interface) Status {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last state: %+v", i.Status())
		}
	})
	testutil.Eventually(t, limit, "the interface is ready", func() bool { return i.Status().Ready })
	return i.Status()
}

func awaits(t testing.TB, i *Interface, problem string) {
	t.Helper()
	testutil.Eventually(t, limit, "problem "+problem, func() bool {
		s := i.Status()
		return !s.Ready && strings.Contains(s.Problem, problem) && strings.Contains(s.Problem, i.spec.Name)
	})
}

func has(t testing.TB, ns, name string) bool {
	t.Helper()
	return slices.ContainsFunc(testutil.Links(t, ns), func(l nl.Link) bool { return l.Name == name })
}

func addressesOf(t testing.TB, ns, name string) []netip.Prefix {
	t.Helper()
	found, err := globals(testutil.Handle(t, ns), testutil.Link(t, ns, name).Index)
	must(t, err)
	return found
}

func TestHostDeviceIsMovedAndGivenBack(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	had := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
	for _, a := range had {
		must(t, testutil.Handle(t, b.host).AddAddress(b.eth.Index, a))
	}
	i := b.open(b.spec("host-device", "eth0"))
	before := ready(t, i)
	if len(before.Addresses) != 2 || before.Addresses[0].Bits() != 24 || has(t, b.host, "eth0") {
		t.Errorf("%+v; still at the node: %t", before, has(t, b.host, "eth0"))
	}
	must(t, i.Abandon()) // the process ends, and another one goes on
	i = b.open(b.spec("host-device", "eth0"))
	if after := ready(t, i); !after.equal(before) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	must(t, i.Close(t.Context()), i.Close(t.Context()))
	if back := addressesOf(t, b.host, "eth0"); !slices.Equal(back, had) || has(t, b.frontend, "eth0") {
		t.Errorf("given back with %v, want %v", back, had)
	}
	if l := testutil.Link(t, b.host, "eth0"); !l.Up || l.Alias != "" {
		t.Errorf("given back as %+v", l)
	}
}

func TestHostDeviceIsShared(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	b.plug(b.frontend)
	own := netip.MustParsePrefix("192.0.2.1/24")
	must(t, testutil.Handle(t, b.frontend).AddAddress(b.eth.Index, own))
	i := b.open(b.spec("host-device", "eth0"))
	if s := ready(t, i); len(s.Addresses) != 3 || !has(t, b.host, "eth0") {
		t.Errorf("%+v; the node's was taken: %t", s, !has(t, b.host, "eth0"))
	}
	must(t, i.Close(t.Context()))
	if left := addressesOf(t, b.frontend, "eth0"); len(left) != 1 || left[0] != own {
		t.Errorf("left with %v, want %v", left, own)
	}
}

func TestMissingHostDeviceIsAwaited(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	i := b.open(b.spec("host-device", "eth7"))
	awaits(t, i, "is neither in the frontend's namespace nor in the node's")
	h := testutil.Handle(t, b.host)
	must(t, h.SetDown(b.eth.Index), h.Rename(b.eth.Index, "eth7"))
	ready(t, i)
	must(t, testutil.Handle(t, b.frontend).DeleteLink(testutil.Link(t, b.frontend, "eth7").Index))
	awaits(t, i, "neither")
}

func TestHostDeviceOfSomebodyElse(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	must(t, testutil.Handle(t, b.host).SetAlias(b.eth.Index, "mine"))
	awaits(t, b.open(b.spec("host-device", "eth0")), "is somebody's")
	if !has(t, b.host, "eth0") {
		t.Error("it was moved")
	}
}

func TestMacvlan(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	i := b.open(b.spec("macvlan", "ext0"))
	before := ready(t, i)
	if l := testutil.Link(t, b.frontend, "ext0"); l.Kind != "macvlan" || len(before.Addresses) != 2 {
		t.Errorf("%+v, %+v", l, before)
	}
	must(t, i.Abandon())
	i = b.open(b.spec("macvlan", "ext0"))
	if after := ready(t, i); !after.equal(before) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	must(t, testutil.Handle(t, b.frontend).DeleteLink(before.Index))
	testutil.Eventually(t, limit, "made again", func() bool { s := i.Status(); return s.Ready && s.Index != before.Index })
	must(t, testutil.Handle(t, b.host).DeleteLink(b.eth.Index))
	awaits(t, i, "base interface eth0 is not there")
	b.plug(b.host)
	ready(t, i)
	must(t, i.Close(t.Context()))
	if has(t, b.frontend, "ext0") {
		t.Error("ext0 is left")
	}
}

func TestMacvlanNameIsTaken(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	b.plug(b.frontend)
	spec := b.spec("macvlan", "eth0")
	i := b.open(spec)
	awaits(t, i, "taken by an interface that is not ours")
	must(t, i.Close(t.Context()))
	if !has(t, b.frontend, "eth0") || len(addressesOf(t, b.frontend, "eth0")) != 0 {
		t.Error("somebody else's interface was touched")
	}
}

func TestNetworkAttachment(t *testing.T) {
	testutil.CheckLeaks(t)
	b := newBed(t)
	i := b.open(b.spec("network-attachment", "eth0"))
	awaits(t, i, "Multus has not added it")
	b.plug(b.frontend)
	multus := netip.MustParsePrefix("192.0.2.1/24")
	must(t, testutil.Handle(t, b.frontend).AddAddress(b.eth.Index, multus))
	testutil.Eventually(t, limit, "Multus's address is told", func() bool {
		s := i.Status()
		i.poke() // addresses make no event
		return s.Ready && slices.Equal(s.Addresses, []netip.Prefix{multus})
	})
	must(t, testutil.Handle(t, b.frontend).SetDown(b.eth.Index))
	awaits(t, i, "is down, and is not ours to bring up")
	must(t, i.Close(t.Context()))
	if left := addressesOf(t, b.frontend, "eth0"); len(left) != 1 {
		t.Errorf("left with %v", left)
	}
}

func TestBadSpec(t *testing.T) {
	for field, change := range map[string]func(*Spec){
		"Name": func(s *Spec) { s.Name = "" }, "Type": func(s *Spec) { s.Type = "wire" }, "VLAN": func(s *Spec) { s.VLAN = 4095 },
		"Base":   func(s *Spec) { s.Type, s.Base = "macvlan", "" },
		"prefix": func(s *Spec) { s.IPv4 = "x" }, "Mesh": func(s *Spec) { s.Type = "nsm-vlan" },
	} {
		spec := Spec{Type: "host-device", Name: "eth0", Base: "eth1"}
		change(&spec)
		if _, err := Open(t.Context(), spec, Deps{}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
