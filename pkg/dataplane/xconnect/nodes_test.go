// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"net"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/tunnel"
)

// node is a node with its cross-connect and its VXLAN device.
type node struct {
	ns       string
	h        *nl.Handle
	x        *XConnect
	device   *tunnel.Device
	underlay nl.Link
}

// nodes are two nodes on one underlay, a client on the first, and an endpoint
// and more on the second.
type nodes struct {
	a, b             node
	client, endpoint spoke
	clientH          *nl.Handle
	family           string
}

const vni = 4711

// Underlay addresses of the nodes, by family.
var underlays = map[string][2]netip.Prefix{
	"IPv4": {netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")},
	"IPv6": {netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("2001:db8::2/64")},
}

func newNode(t testing.TB, ns string, cfg Config) node {
	t.Helper()
	return newNodeOver(t, ns, "", cfg)
}

// newNodeOver makes a node whose underlay is in another namespace.
func newNodeOver(t testing.TB, ns, underlay string, cfg Config) node {
	t.Helper()
	cfg.NetNS = ns
	n := node{ns: ns, h: testutil.Handle(t, ns), x: open(t, cfg)}
	var err error
	n.device, err = tunnel.Open(tunnel.Config{NetNS: ns, Underlay: underlay})
	must(t, err)
	t.Cleanup(func() { must(t, n.device.Close(false)) })
	must(t, n.x.AttachDevice(n.device.Index()), n.x.AttachDevice(n.device.Index()))
	return n
}

// newUnderlay makes the namespaces of two nodes and the link between them.
func newUnderlay(t testing.TB, mtu int) (a, b string, links [2]nl.Link) {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	a, b = testutil.NetNS(t), testutil.NetNS(t)
	ha, hb := testutil.Handle(t, a), testutil.Handle(t, b)
	var err error
	links[0], links[1], err = ha.AddVeth(nl.Veth{Name: "u0", PeerName: "u0", PeerNetNS: b, PeerUp: true, MTU: mtu})
	must(t, err, ha.SetUp(links[0].Index))
	for _, pair := range underlays {
		must(t, ha.AddAddress(links[0].Index, pair[0]), hb.AddAddress(links[1].Index, pair[1]))
		testutil.Eventually(t, limit, "delivery on the underlay", func() bool {
			there, err := ha.Delivers(pair[0].Addr())
			back, errBack := hb.Delivers(pair[1].Addr())
			return there && back && err == nil && errBack == nil
		})
	}
	return a, b, links
}

// newNodes makes the topology; the leg between client and endpoint goes over
// the family. cfg is node A's.
func newNodes(t testing.TB, family string, cfg Config) *nodes {
	t.Helper()
	a, b, links := newUnderlay(t, 1500)
	n := &nodes{a: newNode(t, a, cfg), b: newNode(t, b, Config{}), family: family}
	n.a.underlay, n.b.underlay = links[0], links[1]
	mtu, err := n.a.device.MTU(underlays[family][1].Addr())
	must(t, err)
	n.client = newSpoke(t, n.a.x, n.a.h, "client", 0, mtu)
	n.endpoint = newSpoke(t, n.b.x, n.b.h, "endpoint", 1, mtu)
	n.clientH = testutil.Handle(t, n.client.ns)
	n.join(t, n.client, n.endpoint, vni)
	return n
}

// towardB and towardA are the two ends of a tunnel.
func (n *nodes) towardB(vni uint32) Tunnel {
	u := underlays[n.family]
	return Tunnel{Device: n.a.device.Index(), Local: u[0].Addr(), Remote: u[1].Addr(), VNI: vni}
}

func (n *nodes) towardA(vni uint32) Tunnel {
	u := underlays[n.family]
	return Tunnel{Device: n.b.device.Index(), Local: u[1].Addr(), Remote: u[0].Addr(), VNI: vni}
}

// join makes the endpoint the client's only leg.
func (n *nodes) join(t testing.TB, client, endpoint spoke, vni uint32) {
	t.Helper()
	must(t,
		n.b.x.SetEndpointBehind(endpoint.outer.Index, n.towardA(vni)),
		n.b.x.SetTunnel(n.towardA(vni), TunnelPort{IfIndex: endpoint.outer.Index}),
		n.a.x.SetTunnel(n.towardB(vni), TunnelPort{IfIndex: client.outer.Index, Mark: 7}),
		n.a.x.SetClient(client.outer.Index, []Leg{{Tunnel: n.towardB(vni), MAC: endpoint.inner.MAC}}))
}

// each runs the test with an underlay of each family.
func each(t *testing.T, test func(t *testing.T, family string)) {
	for family := range underlays {
		t.Run(family, func(t *testing.T) { test(t, family) })
	}
}

// echo serves at both addresses of the endpoint.
func echo(t testing.TB, s spoke) []string {
	t.Helper()
	var at []string
	for _, server := range servers {
		at = append(at, testutil.Echo(t, s.ns, net.JoinHostPort(server, "80")))
	}
	return at
}

// counted waits until a node has counted a frame of the reason.
func (n node) counted(t testing.TB, reason Reason, atLeast uint64) {
	t.Helper()
	testutil.Eventually(t, limit, "a frame counted as "+reason.String(), func() bool {
		counters, err := n.x.Counters()
		must(t, err)
		return counters[reason] >= atLeast
	})
}

// lossless fails the test if a node has dropped anything.
func (n node) lossless(t testing.TB) {
	t.Helper()
	counters, err := n.x.Counters()
	must(t, err)
	for reason, count := range counters {
		// An end talks by itself as soon as it is up, before its port is written.
		if reason.Dropped() && reason != NoPort && count != 0 {
			t.Errorf("%d frames dropped as %v", count, reason)
		}
	}
}
