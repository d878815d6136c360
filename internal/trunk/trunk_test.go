// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/vlan"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// node is a namespace with a base interface eth0, on whose other end is another
// one like it.
type node struct {
	t     testing.TB
	ns    string
	pins  string
	trunk *Trunk
}

// wire makes two nodes on one wire.
func wire(t testing.TB) (a, b *node) {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	a = &node{t: t, ns: testutil.NetNS(t), pins: testutil.PinDir(t)}
	b = &node{t: t, ns: testutil.NetNS(t), pins: testutil.PinDir(t)}
	h, far := testutil.Handle(t, a.ns), testutil.Handle(t, b.ns)
	x, y, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: b.ns, PeerUp: true})
	must(t, err, h.SetUp(x.Index))
	for _, p := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		prefix := netip.MustParsePrefix(p)
		must(t, h.AddAddress(x.Index, prefix), far.AddAddress(y.Index, netip.PrefixFrom(prefix.Addr().Next(), prefix.Bits())))
	}
	a.open()
	b.open()
	return a, b
}

func (n *node) open() {
	n.t.Helper()
	t, err := New(Options{NetNS: n.ns, PinDir: n.pins})
	must(n.t, err)
	n.trunk = t
	n.t.Cleanup(func() { must(n.t, t.Close(false)) })
}

// frontend is an interface ext0 in a namespace of its own.
type frontend struct {
	port Port
	ns   string
	v4   string
	v6   string
}

// frontend connects a new one; last is the last part of its addresses.
func (n *node) frontend(id int, last int) frontend {
	n.t.Helper()
	f := newFrontend(n.t, id, last)
	must(n.t, n.trunk.Connect(n.t.Context(), f.port))
	return f
}

func newFrontend(t testing.TB, id, last int) frontend {
	t.Helper()
	f := frontend{ns: testutil.NetNS(t), v4: fmt.Sprintf("10.1.%d.%d", id%256, last), v6: fmt.Sprintf("fd00:%x::%x", id+1, last)}
	f.port = Port{
		ID: fmt.Sprintf("conn-%d-%d", id, last), NetNS: f.ns, Interface: "ext0", Base: "eth0", VLAN: id,
		Addresses: []netip.Prefix{netip.MustParsePrefix(f.v4 + "/24"), netip.MustParsePrefix(f.v6 + "/64")},
	}
	return f
}

// reach exchanges data over TCP and UDP in both families.
func reach(t testing.TB, from, to frontend) {
	t.Helper()
	for _, address := range []string{to.v4 + ":0", "[" + to.v6 + "]:0"} {
		remote := testutil.Echo(t, to.ns, address)
		for _, network := range []string{"tcp", "udp"} {
			testutil.MustExchange(t, from.ns, network, "", remote)
		}
	}
}

func TestVLANsOfOneBaseInterface(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	for _, id := range []int{0, 100, 4094} {
		t.Run(fmt.Sprint(id), func(t *testing.T) {
			one, two, far := a.frontend(id, 1), a.frontend(id, 2), b.frontend(id, 3)
			reach(t, one, far)
			reach(t, far, one)
			reach(t, far, two)
			reach(t, one, two)
			large := strings.Repeat("x", 1<<20)
			remote := testutil.Echo(t, far.ns, far.v4+":0")
			if got, err := testutil.Exchange(one.ns, "tcp", "", remote, large); err != nil || got != large {
				t.Errorf("1 MiB: %d bytes, %v", len(got), err)
			}
		})
	}
	// The host's own traffic goes on beside all of them.
	host := testutil.Echo(t, b.ns, "192.0.2.2:0")
	testutil.MustExchange(t, a.ns, "tcp", "", host)
	testutil.MustExchange(t, a.ns, "tcp", "", testutil.Echo(t, b.ns, "[2001:db8::2]:0"))
	counters, err := a.trunk.Counters()
	must(t, err)
	for _, reason := range []vlan.Reason{vlan.NoPort, vlan.Stale, vlan.Rewrite, vlan.Looped, vlan.Tagged} {
		if counters[reason] != 0 {
			t.Errorf("%d frames are %v", counters[reason], reason)
		}
	}
}

// The same addresses in two VLANs do not meet.
func TestVLANsAreApart(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	one := a.frontend(100, 1)
	other := newFrontend(t, 100, 3)
	other.port.VLAN = 200
	must(t, b.trunk.Connect(t.Context(), other.port))
	remote := testutil.Echo(t, other.ns, other.v4+":0")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := testutil.Dial(ctx, one.ns, "tcp", "", remote); err == nil {
		_ = c.Close()
		t.Fatal("VLAN 100 reaches VLAN 200")
	}
	other.port.VLAN = 100 // and now it moves
	before := testutil.Link(t, other.ns, "ext0")
	must(t, b.trunk.Connect(t.Context(), other.port))
	reach(t, one, other)
	if after := testutil.Link(t, other.ns, "ext0"); after.Index != before.Index || after.MAC.String() != before.MAC.String() {
		t.Errorf("the interface was made again: %+v, before %+v", after, before)
	}
}

// A restarted process finds the interfaces, and changes nothing on them; traffic
// goes on without anybody.
func TestRestart(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	one, far := a.frontend(100, 1), b.frontend(100, 3)
	before := testutil.Link(t, one.ns, "ext0")
	must(t, a.trunk.Close(true))
	reach(t, one, far)
	a.open()
	reach(t, far, one)
	again := one.port
	again.ID = "another-id" // the mesh knows it under another id now
	again.Addresses = again.Addresses[:1]
	must(t, a.trunk.Connect(t.Context(), again), a.trunk.Disconnect(one.port.ID), a.trunk.Collect())
	if after := testutil.Link(t, one.ns, "ext0"); after.Index != before.Index || after.MAC.String() != before.MAC.String() {
		t.Errorf("the interface was made again: %+v, before %+v", after, before)
	}
	addresses, err := testutil.Handle(t, one.ns).Addresses(before.Index)
	must(t, err)
	if slices.Contains(addresses, one.port.Addresses[1]) {
		t.Error("an address of before that is not wanted any more is still there")
	}
	testutil.MustExchange(t, far.ns, "tcp", "", testutil.Echo(t, one.ns, one.v4+":0"))
	must(t, a.trunk.Close(true))
	a.open()
	must(t, a.trunk.Collect())
	for _, l := range testutil.Links(t, one.ns) {
		if l.Name == "ext0" {
			t.Error("what nobody claims is still there")
		}
	}
}

// What goes away takes everything with it.
func TestDisconnect(t *testing.T) {
	testutil.CheckLeaks(t)
	a, _ := wire(t)
	host := testutil.Handle(t, a.ns)
	links, err := host.Links()
	must(t, err)
	one, two := a.frontend(100, 1), a.frontend(100, 2)
	must(t, a.trunk.Disconnect(one.port.ID), a.trunk.Disconnect(one.port.ID))
	testutil.DeleteNetNS(t, two.ns) // its frontend ends
	testutil.Eventually(t, 5*time.Second, "the interface of a namespace that ended is forgotten", func() bool { return a.trunk.Len() == 0 })
	after, err := host.Links()
	must(t, err)
	if len(after) != len(links) {
		t.Errorf("interfaces %v, before %v", after, links)
	}
	if ports := a.trunk.plane.Ports(); len(ports) != 0 {
		t.Errorf("the data path knows %v", ports)
	}
}

// The frontend sees the carrier of the base interface; a new one of the same name
// takes the old one's place.
func TestBaseInterfaceGoesAndComes(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	one := a.frontend(100, 1)
	h := testutil.Handle(t, a.ns)
	eth := testutil.Link(t, a.ns, "eth0")
	carrier := func(want bool) func() bool {
		return func() bool { return testutil.Link(t, one.ns, "ext0").Carrier == want }
	}
	must(t, h.SetDown(eth.Index))
	testutil.Eventually(t, 5*time.Second, "carrier is lost", carrier(false))
	must(t, h.SetUp(eth.Index))
	testutil.Eventually(t, 5*time.Second, "carrier is back", carrier(true))
	before := testutil.Link(t, one.ns, "ext0")
	must(t, h.DeleteLink(eth.Index))
	eth, _, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: b.ns, PeerUp: true})
	must(t, err, h.SetUp(eth.Index))
	testutil.Eventually(t, 5*time.Second, "joined with the new base interface", func() bool { return a.trunk.plane.Attached(eth.Index) })
	far := b.frontend(100, 3)
	reach(t, one, far)
	if after := testutil.Link(t, one.ns, "ext0"); after.Index != before.Index {
		t.Errorf("the interface was made again")
	}
}

func TestRefused(t *testing.T) {
	testutil.CheckLeaks(t)
	a, _ := wire(t)
	for name, c := range map[string]struct {
		change func(*Port)
		want   error
		text   string
	}{
		"no id":           {func(p *Port) { p.ID = "" }, ErrInvalid, "id is empty"},
		"VLAN id":         {func(p *Port) { p.VLAN = 4095 }, ErrInvalid, "VLAN id 4095"},
		"base interface":  {func(p *Port) { p.Base = "eth9" }, ErrNoBase, "eth9"},
		"namespace":       {func(p *Port) { p.NetNS = "/run/netns/missing" }, ErrNoNamespace, "/run/netns/missing"},
		"interface taken": {func(p *Port) { p.Interface = "lo" }, ErrNameTaken, "lo"},
		"address":         {func(p *Port) { p.Addresses = []netip.Prefix{{}} }, ErrInvalid, "address"},
		"MAC":             {func(p *Port) { p.MAC = []byte{1, 0, 0, 0, 0, 1} }, ErrInvalid, "MAC"},
	} {
		t.Run(name, func(t *testing.T) {
			port := newFrontend(t, 100, 1).port
			c.change(&port)
			err := a.trunk.Connect(t.Context(), port)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
	if n := a.trunk.Len(); n != 0 {
		t.Errorf("%d interfaces", n)
	}
}

// A step that fails leaves nothing of a new interface; the next call succeeds.
func TestEachStepFails(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	far := b.frontend(100, 3)
	one := newFrontend(t, 100, 1)
	injected := errors.New("injected")
	for n := 0; ; n++ {
		left := n
		a.trunk.opts.hook = func(string) error {
			if left--; left == -1 {
				return injected
			}
			return nil
		}
		before := len(testutil.Links(t, a.ns))
		err := a.trunk.Connect(t.Context(), one.port)
		a.trunk.opts.hook = nil
		if err == nil {
			if n < 5 {
				t.Errorf("only %d steps", n)
			}
			break
		}
		if !errors.Is(err, injected) {
			t.Fatalf("step %d: %v", n, err)
		}
		if after := len(testutil.Links(t, a.ns)); after != before || a.trunk.Len() != 0 || len(a.trunk.plane.Ports()) != 0 {
			t.Errorf("step %d: %d interfaces, before %d; %d entries", n, after, before, a.trunk.Len())
		}
	}
	reach(t, one, far)
}

// A process that dies at any step leaves what the next one can use or collect.
func TestDiesAtEachStep(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := wire(t)
	far := b.frontend(100, 3)
	died := errors.New("died")
	for n := range 6 {
		one := newFrontend(t, 100, 10+n)
		left := n
		a.trunk.opts.hook = func(string) error {
			if left--; left < 0 {
				return died // and everything that would undo it
			}
			return nil
		}
		if err := a.trunk.Connect(t.Context(), one.port); !errors.Is(err, died) {
			t.Fatalf("step %d: %v", n, err)
		}
		must(t, a.trunk.Close(true))
		a.open()
		must(t, a.trunk.Connect(t.Context(), one.port), a.trunk.Collect())
		reach(t, one, far)
		if found, err := a.trunk.Check(false); err != nil || len(found) != 0 {
			t.Errorf("step %d: %v, %v", n, found, err)
		}
		must(t, a.trunk.Disconnect(one.port.ID))
	}
}
