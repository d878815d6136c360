// SPDX-License-Identifier: Apache-2.0

package tunnel_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, cfg tunnel.Config) *tunnel.Device {
	t.Helper()
	d, err := tunnel.Open(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close(false)) })
	return d
}

func TestAdopt(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	ns := testutil.NetNS(t)
	cfg := tunnel.Config{NetNS: ns, Alias: "weft:tunnel"}
	first, err := tunnel.Open(cfg)
	must(t, err)
	index := first.Index()
	must(t, first.Close(true), first.Close(false))
	if l := testutil.Link(t, ns, tunnel.DefaultName); l.Index != index || !l.Up || l.Alias != cfg.Alias {
		t.Errorf("kept device is %+v, want index %d, up, with its alias", l, index)
	}
	again, err := tunnel.Open(cfg)
	must(t, err)
	if again.Index() != index {
		t.Errorf("index %d after a restart, want %d", again.Index(), index)
	}
	must(t, again.Close(false))
	h := testutil.Handle(t, ns)
	if _, err := h.LinkByName(tunnel.DefaultName); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("removed device: %v, want ErrNotFound", err)
	}
	if _, err := again.MTU(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("a closed device has an MTU")
	}
}

func TestOpenRefuses(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	ns := testutil.NetNS(t)
	h := testutil.Handle(t, ns)
	_, _, err := h.AddVeth(nl.Veth{Name: "other", PeerName: "peer"})
	must(t, err)
	local, remote := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	_, err = h.AddVXLAN(nl.VXLAN{Name: "fixed", VNI: 7, Port: 4790, Local: local, Remote: remote})
	must(t, err)
	open(t, tunnel.Config{NetNS: ns, Name: "mine", Port: 4791})
	for name, c := range map[string]struct {
		cfg  tunnel.Config
		want error
	}{
		"veth":        {tunnel.Config{NetNS: ns, Name: "other"}, tunnel.ErrOccupied},
		"fixed VNI":   {tunnel.Config{NetNS: ns, Name: "fixed", Port: 4790}, tunnel.ErrOccupied},
		"other port":  {tunnel.Config{NetNS: ns, Name: "mine"}, tunnel.ErrOccupied},
		"port taken":  {tunnel.Config{NetNS: ns, Name: "second", Port: 4791}, nl.ErrExists},
		"no node":     {tunnel.Config{NetNS: "/run/netns/missing"}, nil},
		"no underlay": {tunnel.Config{NetNS: ns, Underlay: "/run/netns/missing"}, nil},
	} {
		_, err := tunnel.Open(c.cfg)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := h.LinkByName("second"); !errors.Is(err, nl.ErrNotFound) {
		t.Errorf("a refused Open has left its device: %v", err)
	}
}

// The interface is in one namespace, its UDP side in another.
func TestUnderlayElsewhere(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	ns, underlay := testutil.NetNS(t), testutil.NetNS(t)
	d := open(t, tunnel.Config{NetNS: ns, Underlay: underlay})
	if l := testutil.Link(t, ns, tunnel.DefaultName); l.Index != d.Index() || !l.Up {
		t.Errorf("device is %+v, want index %d, up", l, d.Index())
	}
	h := testutil.Handle(t, underlay)
	a, b, err := h.AddVeth(nl.Veth{Name: "u0", PeerName: "u1", MTU: 1400})
	must(t, err, h.SetUp(a.Index), h.SetUp(b.Index), h.AddAddress(a.Index, netip.MustParsePrefix("192.0.2.1/24")))
	if mtu, err := d.MTU(netip.MustParseAddr("192.0.2.2")); err != nil || mtu != 1350 {
		t.Errorf("MTU %d (%v), want 1350", mtu, err)
	}
}

func TestMTU(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	ns := testutil.NetNS(t)
	d := open(t, tunnel.Config{NetNS: ns})
	h := testutil.Handle(t, ns)
	a, b, err := h.AddVeth(nl.Veth{Name: "u0", PeerName: "u1", MTU: 1500})
	must(t, err, h.SetUp(a.Index), h.SetUp(b.Index),
		h.AddAddress(a.Index, netip.MustParsePrefix("192.0.2.1/24")), h.AddAddress(a.Index, netip.MustParsePrefix("2001:db8::1/64")))
	must(t, h.AddRoute(nl.Route{Index: a.Index, Prefix: netip.MustParsePrefix("198.51.100.0/24"), MTU: 1400}))
	for remote, want := range map[string]int{
		"192.0.2.2": 1450, "::ffff:192.0.2.2": 1450, "2001:db8::2": 1430, "198.51.100.1": 1350,
	} {
		if mtu, err := d.MTU(netip.MustParseAddr(remote)); err != nil || mtu != want {
			t.Errorf("MTU to %s: %d (%v), want %d", remote, mtu, err, want)
		}
	}
	if mtu, err := d.MTU(netip.MustParseAddr("203.0.113.1")); err == nil {
		t.Errorf("MTU %d to where no route leads", mtu)
	}
}
