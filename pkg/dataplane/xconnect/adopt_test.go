// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// pinDir is a directory to pin in, on a bpffs of the test's own.
func pinDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return filepath.Join(dir, "weft")
}

func TestState(t *testing.T) {
	dir := pinDir(t)
	x, err := Open(Config{PinDir: dir})
	must(t, err)
	far := Tunnel{Device: 5, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"), VNI: 9}
	far6 := Tunnel{Device: 6, Remote: netip.MustParseAddr("2001:db8::2"), VNI: 9}
	want := State{
		Clients: map[int][]Leg{
			10: {{IfIndex: 30, MAC: mac(1), Local: true}, {Tunnel: far, MAC: mac(2)}, {IfIndex: 20, MAC: mac(3)}},
			11: {},
		},
		Endpoints: map[int]EndpointPort{20: {Client: 10, Mark: 3}, 21: {Tunnel: far6}},
		Tunnels: map[TunnelKey]TunnelPort{
			far.Key(): {IfIndex: 10, Mark: 3, Owner: [16]byte{1, 2, 3}}, far6.Key(): {IfIndex: 21},
		},
	}
	for ifindex, legs := range want.Clients {
		must(t, x.SetClient(ifindex, legs))
	}
	must(t, x.SetEndpoint(20, 10, 3), x.SetEndpointBehind(21, far6))
	must(t, x.SetTunnel(far, want.Tunnels[far.Key()]), x.SetTunnel(far6, TunnelPort{IfIndex: 21}))
	must(t, x.SetPeer(5, far.Remote))
	unordered := cmpopts.SortSlices(func(a, b Leg) bool { return a.MAC.String() < b.MAC.String() })
	plain := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for range 2 {
		got, err := x.State()
		must(t, err)
		if diff := cmp.Diff(want, got, unordered, plain); diff != "" {
			t.Error(diff)
		}
		if peers, err := x.Peers(); err != nil || !slices.Equal(peers, []Peer{{5, far.Remote}}) {
			t.Errorf("peers %v (%v)", peers, err)
		}
		must(t, x.Close(true))
		x, err = Open(Config{PinDir: dir})
		must(t, err)
	}
	must(t, x.Close(false))
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the pin directory remains: %v", err)
	}
}

// Processes come and go, each with another program than the one before, while
// packets pass through a local and a tunnel leg: none is lost.
func TestRestartsLoseNothing(t *testing.T) {
	each(t, func(t *testing.T, family string) {
		dir := pinDir(t)
		n := newNodes(t, family, Config{PinDir: dir})
		second := newSpoke(t, n.a.x, n.a.h, "second", 0, 0)
		here := newSpoke(t, n.a.x, n.a.h, "here", 1, 0)
		must(t, n.a.x.SetEndpoint(here.outer.Index, second.outer.Index, 0),
			n.a.x.SetClient(second.outer.Index, []Leg{{IfIndex: here.outer.Index, MAC: here.inner.MAC}}))
		s := stream(t, [][2]spoke{{n.client, n.endpoint}, {second, here}})
		x := n.a.x
		for i := range 5 {
			before := s.sent.Load()
			must(t, x.Close(true))
			s.passes(t, before+500)
			var err error
			x, err = Open(Config{NetNS: n.a.ns, PinDir: dir, Gateway: mac(byte(i))})
			must(t, err, x.AttachDevice(n.a.device.Index()))
			s.passes(t, s.sent.Load()+500)
		}
		s.lossless(t)
		// All remains adjustable.
		must(t, x.SetClient(n.client.outer.Index, nil))
		if got := run(t, x, n.client.outer.Index, frame(DefaultGateway, 1)); got.Reason != NoLeg {
			t.Errorf("after a change: %v, want %v", got, NoLeg)
		}
		must(t, x.DeleteTunnel(n.towardB(vni)))
		must(t, x.Close(false))
	})
}

// A process takes over what one of before there were tunnels has left, with
// other maps and another program, and no packet is lost.
func TestUpgradeFromLayout1(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	dir := pinDir(t)
	must(t, os.Mkdir(dir, 0o700))
	s := newStar(t, 1, Config{})
	ports := []int{s.client.outer.Index, s.endpoints[0].outer.Index}
	must(t, s.x.Close(false))
	old := openLayout1(t, s.host, dir, ports, s.endpoints[0].inner.MAC)
	packets := stream(t, [][2]spoke{{s.client, s.endpoints[0]}})
	packets.passes(t, 500)
	must(t, old.Close(true))
	packets.passes(t, packets.sent.Load()+500)
	for range 2 { // the second finds nothing old any more
		x, err := Open(Config{NetNS: s.host, PinDir: dir})
		must(t, err)
		packets.passes(t, packets.sent.Load()+500)
		state, err := x.State()
		must(t, err)
		want := State{
			Clients:   map[int][]Leg{ports[0]: {{IfIndex: ports[1], MAC: s.endpoints[0].inner.MAC}}},
			Endpoints: map[int]EndpointPort{ports[1]: {Client: ports[0], Mark: 7}}, Tunnels: map[TunnelKey]TunnelPort{},
		}
		if diff := cmp.Diff(want, state, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		if counters, err := x.Counters(); err != nil || counters[OnlyLeg] < 500 {
			t.Errorf("counters %v (%v), want those of before, too", counters, err)
		}
		for _, pin := range layout1 {
			if _, err := os.Stat(filepath.Join(dir, pin)); !os.IsNotExist(err) {
				t.Errorf("old pin %s: %v", pin, err)
			}
		}
		must(t, x.Close(true))
	}
	packets.lossless(t)
	x, err := Open(Config{NetNS: s.host, PinDir: dir})
	must(t, err, x.Close(false))
}

// openLayout1 does what a process of layout 1 does, with its program.
func openLayout1(t *testing.T, ns, dir string, ports []int, leg []byte) *ingress.Block {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("testdata/layout1.o")
	must(t, err)
	spec.Maps["xc_ports"].Pinning, spec.Maps["xc_counters"].Pinning = ebpf.PinByName, ebpf.PinByName
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}})
	must(t, err)
	t.Cleanup(c.Close)
	client := port1{Ifindex: uint32(ports[0]), Generation: 1, Kind: 1, LegCount: 1}
	client.Legs[0].Ifindex, client.Legs[0].MAC = uint32(ports[1]), [6]byte(leg)
	endpoint := port1{Ifindex: uint32(ports[1]), Generation: 2, Kind: 2, Client: uint32(ports[0]), Mark: 7}
	must(t, c.Maps["xc_ports"].Put(client.Ifindex, client), c.Maps["xc_ports"].Put(endpoint.Ifindex, endpoint))
	b, err := ingress.Open(ns, ingress.ID(dir), c.Programs["xconnect"])
	must(t, err)
	for _, port := range ports {
		must(t, b.Join(port))
	}
	return b
}
