// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// wire passes carriers between the Stitchers of two nodes, as liveness does
// between processes.
type wire struct {
	mu    sync.Mutex
	nodes map[netip.Addr]*wired // by the address for tunnels
	cut   bool
}

type wired struct {
	w       *wire
	local   netip.Addr
	changed func(xconnect.Tunnel)
	heard   map[xconnect.TunnelKey]bool // carrier of far ends
	told    map[xconnect.TunnelKey]bool // carrier of ends here
	joined  map[xconnect.TunnelKey]xconnect.Tunnel
}

func (w *wire) open(local netip.Addr) func(*xconnect.XConnect, func(xconnect.Tunnel)) (Remotes, error) {
	return func(_ *xconnect.XConnect, changed func(xconnect.Tunnel)) (Remotes, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.nodes == nil {
			w.nodes = map[netip.Addr]*wired{}
		}
		w.nodes[local] = &wired{
			w: w, local: local, changed: changed, heard: map[xconnect.TunnelKey]bool{},
			told: map[xconnect.TunnelKey]bool{}, joined: map[xconnect.TunnelKey]xconnect.Tunnel{},
		}
		return w.nodes[local], nil
	}
}

// far returns the other node and its name of a tunnel.
func (r *wired) far(t Tunnel) (*wired, xconnect.TunnelKey) {
	other := r.w.nodes[t.Remote]
	if other == nil {
		return nil, xconnect.TunnelKey{}
	}
	for key := range other.joined {
		if key.VNI == t.VNI && key.Remote == r.local {
			return other, key
		}
	}
	return nil, xconnect.TunnelKey{}
}

func (r *wired) Join(t Tunnel) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.joined[t.Key()] = t.Tunnel
	if other, key := r.far(t); other != nil { // it is asked
		if up, said := other.told[key]; said {
			r.heard[t.Key()] = up
			go r.changed(t.Tunnel)
		}
	}
}

func (r *wired) Leave(t Tunnel) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	delete(r.joined, t.Key())
	delete(r.heard, t.Key())
	delete(r.told, t.Key())
}

func (r *wired) Forget(t Tunnel) { r.Leave(t) }

func (r *wired) SetCarrier(t Tunnel, up bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.told[t.Key()] = up
	if other, key := r.far(t); other != nil {
		if before, known := other.heard[key]; !known || before != up {
			other.heard[key] = up
			go other.changed(other.joined[key])
		}
	}
}

func (r *wired) Carrier(t Tunnel) (up, known bool) {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	up, known = r.heard[t.Key()]
	return up && !r.w.cut, known
}

func (r *wired) Prune() error { return nil }
func (r *wired) Close() error { return nil }

// partition cuts the nodes off each other, or joins them again.
func (w *wire) partition(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, r := range w.nodes {
		for _, t := range r.joined {
			go r.changed(t)
		}
	}
}

// pair is a workload's node a and its endpoints' node b.
type pair struct {
	a, b             *node
	addrA, addrB     netip.Addr
	deviceA, deviceB int
	wire             *wire
}

func newPair(t *testing.T, addrA, addrB string, opts func(t *testing.T) Options) *pair {
	t.Helper()
	p := &pair{addrA: netip.MustParseAddr(addrA), addrB: netip.MustParseAddr(addrB), wire: &wire{}}
	optsA, optsB := opts(t), opts(t)
	optsA.Remotes, optsB.Remotes = p.wire.open(p.addrA), p.wire.open(p.addrB)
	p.a, p.b = newNode(t, optsA), newNode(t, optsB)
	p.b.workload = p.a.workload
	host := testutil.Handle(t, p.a.host)
	link, peer, err := host.AddVeth(nl.Veth{Name: "under", PeerName: "under", PeerNetNS: p.b.host, PeerUp: true, MTU: 1600})
	if err != nil {
		t.Fatal(err)
	}
	bits := 24
	if p.addrA.Is6() {
		bits = 64
	}
	if err := errors.Join(host.SetUp(link.Index),
		host.AddAddress(link.Index, netip.PrefixFrom(p.addrA, bits)),
		testutil.Handle(t, p.b.host).AddAddress(peer.Index, netip.PrefixFrom(p.addrB, bits))); err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		n     *node
		index *int
	}{{p.a, &p.deviceA}, {p.b, &p.deviceB}} {
		device, err := tunnel.Open(tunnel.Config{NetNS: end.n.host})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := device.Close(false); err != nil {
				t.Error(err)
			}
		})
		if *end.index = device.Index(); end.n.AttachDevice(device.Index()) != nil {
			t.Fatal("cannot attach the device")
		}
	}
	return p
}

// legs returns both halves of the leg to endpoint i of b.
func (p *pair) legs(i int) (a, b Leg) {
	vni := uint32(100 + i)
	a, b = p.b.leg(i), p.b.leg(i)
	a.Endpoint = Side{MAC: a.Endpoint.MAC, Tunnel: &Tunnel{Signals: true,
		Tunnel: xconnect.Tunnel{Device: p.deviceA, Local: p.addrA, Remote: p.addrB, VNI: vni}}}
	b.Client = Side{Tunnel: &Tunnel{Signals: true,
		Tunnel: xconnect.Tunnel{Device: p.deviceB, Local: p.addrB, Remote: p.addrA, VNI: vni}}}
	return a, b
}

func (p *pair) connect(t *testing.T, i int) {
	t.Helper()
	a, b := p.legs(i)
	p.b.connect(t, b)
	p.a.connect(t, a)
}

func (p *pair) disconnect(t *testing.T, i int) {
	t.Helper()
	p.b.disconnect(t, fmt.Sprint("leg-", i))
	p.a.disconnect(t, fmt.Sprint("leg-", i))
}

func (p *pair) carrier(t *testing.T, i int, want bool) {
	t.Helper()
	testutil.Eventually(t, limit, fmt.Sprintf("carrier of endpoint %d is %v", i, want), func() bool {
		return testutil.Link(t, p.b.endpoints[i], "leg-a").Carrier == want
	})
}

func plainOptions(*testing.T) Options { return Options{} }

// Legs to another node carry traffic of both families, over both, and go
// without a trace.
func TestFarLegs(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	for _, under := range [][2]string{{"192.0.2.1", "192.0.2.2"}, {"2001:db8::1", "2001:db8::2"}} {
		t.Run(under[0], func(t *testing.T) {
			p := newPair(t, under[0], under[1], plainOptions)
			beforeA, beforeB := p.a.state(t), p.b.state(t)
			p.connect(t, 0)
			p.connect(t, 1)
			p.a.becomes(t, "both legs are used", "leg-0", "leg-1")
			for i, own := range []string{"172.16.0.1", "fd00:1::1"} {
				at := testutil.Echo(t, p.b.endpoints[i], net.JoinHostPort(own, "0"))
				testutil.MustExchange(t, p.a.workload, "tcp", "", at)
				testutil.MustExchange(t, p.a.workload, "udp", "", at)
			}
			p.disconnect(t, 1)
			for _, vip := range []netip.Prefix{vip4, vip6} { // answers take any leg
				at := testutil.Echo(t, p.a.workload, netip.AddrPortFrom(vip.Addr(), 0).String())
				testutil.MustExchange(t, p.b.endpoints[0], "tcp", "", at)
			}
			p.disconnect(t, 0)
			if diff := cmp.Diff(beforeA, p.a.state(t)) + cmp.Diff(beforeB, p.b.state(t)); diff != "" {
				t.Error(diff)
			}
			for _, n := range []*node{p.a, p.b} {
				if state, err := n.xc.State(); err != nil || len(state.Tunnels)+len(state.Endpoints)+len(state.Clients) != 0 {
					t.Errorf("left: %+v, %v", state, err)
				}
			}
		})
	}
}

// A small MTU is enough for IPv4, and refused with IPv6.
func TestSmallMTU(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, plainOptions(t))
	l := n.leg(0)
	l.Client.MTU, l.Endpoint.MTU = 1270, 1270
	if err := n.Connect(t.Context(), l); !errors.Is(err, ErrInvalidLeg) {
		t.Errorf("MTU 1270 with IPv6: %v", err)
	}
	l.Client = Side{NetNS: n.workload, Interface: "nsm-1", MTU: 1270, Addresses: []netip.Prefix{prefix("172.16.0.10/32")}, Routes: []Route{{Prefix: prefix("172.16.0.1/32")}}}
	l.Endpoint = Side{NetNS: n.endpoints[0], Interface: "leg-a", MTU: 1270, Addresses: []netip.Prefix{prefix("172.16.0.1/32")}, Routes: []Route{{Prefix: prefix("172.16.0.10/32")}}}
	n.connect(t, l)
	testutil.MustExchange(t, n.workload, "tcp", "", testutil.Echo(t, n.endpoints[0], "172.16.0.1:0"))
}

// Carrier passes from node to node, in both directions, as it does within one.
func TestFarCarrier(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	p := newPair(t, "192.0.2.1", "192.0.2.2", plainOptions)
	p.connect(t, 0)
	p.connect(t, 1)
	p.a.becomes(t, "both legs are used", "leg-0", "leg-1")
	set(t, p.b.endpoints[0], "leg-a", false)
	p.a.becomes(t, "a leg whose endpoint is down is not used", "leg-1")
	set(t, p.b.endpoints[0], "leg-a", true)
	p.a.becomes(t, "it is used again", "leg-0", "leg-1")
	set(t, p.a.workload, "nsm-1", false)
	p.carrier(t, 0, false)
	p.carrier(t, 1, false)
	set(t, p.a.workload, "nsm-1", true)
	p.carrier(t, 0, true)
	p.carrier(t, 1, true)
	p.wire.partition(true)
	p.carrier(t, 0, false)
	p.carrier(t, 1, false)
	p.a.becomes(t, "no leg leads to a node that is cut off")
	p.wire.partition(false)
	p.carrier(t, 0, true)
	p.a.becomes(t, "both are back", "leg-0", "leg-1")
	if err := p.b.Lose(t.Context(), "leg-1"); err != nil {
		t.Fatal(err)
	}
	p.a.becomes(t, "an endpoint that does not answer is lost here, too", "leg-0")
	p.disconnect(t, 0)
	p.a.becomes(t, "the only leg is used in any case", "leg-1")
	p.disconnect(t, 1)
}

// The Stitchers of both nodes restart, one after the other and at once, and are
// not missed.
func TestFarRestartLosesNothing(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	p := newPair(t, "192.0.2.1", "192.0.2.2", pinned)
	p.connect(t, 0)
	p.connect(t, 1)
	p.a.becomes(t, "both legs are used", "leg-0", "leg-1")
	streams := []*stream{
		newStream(t, p.b.endpoints[0], p.a.workload, netip.AddrPortFrom(vip4.Addr(), 0)),
		newStream(t, p.b.endpoints[1], p.a.workload, netip.AddrPortFrom(vip6.Addr(), 0)),
		newStream(t, p.a.workload, p.b.endpoints[0], netip.MustParseAddrPort("172.16.0.1:0")),
	}
	for _, victims := range [][]*node{{p.a}, {p.b}, {p.a, p.b}} {
		for _, n := range victims {
			n.kill(t)
		}
		for _, n := range victims {
			n.start(t)
		}
		for i := range 2 {
			_, b := p.legs(i)
			vni, err := p.b.ReserveVNI(b.ID, *b.Client.Tunnel, 0)
			if err != nil || vni != b.Client.Tunnel.VNI {
				t.Fatalf("VNI %d, %v, want that of before, %d", vni, err, b.Client.Tunnel.VNI)
			}
			p.connect(t, i)
		}
		p.a.becomes(t, "both legs are used", "leg-0", "leg-1")
	}
	for _, s := range streams {
		s.finish(t)
	}
	for _, n := range []*node{p.a, p.b} {
		if found := n.check(t, false); len(found) != 0 {
			t.Errorf("differences: %+v", found)
		}
		n.kill(t)
		n.start(t)
		if err := n.Collect(context.Background()); err != nil {
			t.Error(err)
		}
		if state, err := n.xc.State(); err != nil || len(state.Tunnels)+len(state.Endpoints)+len(state.Clients) != 0 {
			t.Errorf("not collected: %+v, %v", state, err)
		}
	}
}

// A tunnel belongs to one leg, and a leg that moves takes the traffic along.
func TestFarLegMoves(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	p := newPair(t, "192.0.2.1", "192.0.2.2", plainOptions)
	p.connect(t, 0)
	p.a.becomes(t, "the leg is used", "leg-0")
	a, _ := p.legs(0)
	thief := a
	thief.ID = "thief"
	if err := p.a.Connect(t.Context(), thief); !errors.Is(err, ErrTunnelTaken) {
		t.Errorf("the tunnel of another: %v", err)
	}
	local := p.a.leg(0) // the endpoint moves to the workload's node
	p.b.disconnect(t, "leg-0")
	p.a.connect(t, local)
	at := testutil.Echo(t, p.a.endpoints[0], "172.16.0.1:0")
	testutil.MustExchange(t, p.a.workload, "tcp", "", at)
	if state, err := p.a.xc.State(); err != nil || len(state.Tunnels) != 0 {
		t.Errorf("tunnels left: %+v, %v", state.Tunnels, err)
	}
	p.a.disconnect(t, "leg-0")
}

// A leg changes its tunnel, as it does when keys are changed, and loses nothing:
// neither node sends by the new one before the other is ready for it.
func TestFarLegChangesItsTunnel(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	p := newPair(t, "192.0.2.1", "192.0.2.2", plainOptions)
	p.connect(t, 0)
	p.a.becomes(t, "the leg is used", "leg-0")
	p.carrier(t, 0, true)
	before := p.b.state(t)
	s := newStream(t, p.b.endpoints[0], p.a.workload, netip.AddrPortFrom(vip4.Addr(), 0))
	back := newStream(t, p.a.workload, p.b.endpoints[0], netip.MustParseAddrPort("172.16.0.1:0"))
	a, b := p.legs(0)
	for vni := range uint32(20) {
		a.Endpoint.Tunnel = &Tunnel{Signals: true, Tunnel: a.Endpoint.Tunnel.Tunnel}
		b.Client.Tunnel = &Tunnel{Signals: true, Tunnel: b.Client.Tunnel.Tunnel}
		a.Endpoint.Tunnel.VNI, b.Client.Tunnel.VNI = 700+vni, 700+vni
		p.b.connect(t, b)
		for range 3 { // the answer takes its time
			testutil.MustExchange(t, p.b.endpoints[0], "udp", "", testutil.Echo(t, p.a.workload, "20.0.0.1:0"))
		}
		p.a.connect(t, a)
		testutil.Eventually(t, limit, "both send by the new tunnel", func() bool {
			state, err := p.b.xc.State()
			for _, port := range state.Endpoints {
				return err == nil && port.Tunnel.VNI == 700+vni
			}
			return false
		})
	}
	p.b.connect(t, b) // the following refresh
	p.a.connect(t, a)
	s.finish(t)
	back.finish(t)
	if diff := cmp.Diff(before, p.b.state(t)); diff != "" {
		t.Errorf("the endpoint's interface has changed: %s", diff)
	}
	for _, n := range []*node{p.a, p.b} {
		if state, err := n.xc.State(); err != nil || len(state.Tunnels) != 1 {
			t.Errorf("tunnels: %+v, %v", state.Tunnels, err)
		}
	}
	p.disconnect(t, 0)
}
