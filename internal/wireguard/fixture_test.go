// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

func TestMain(m *testing.M) {
	MaybeServe()
	manageIfAsked()
	os.Exit(m.Run())
}

const (
	testVNI    = 4242
	echoPort   = 7007
	connection = "connection"
)

// fastTiming spares the tests the waits that real requests need.
var fastTiming = timing{
	tick: 20 * time.Millisecond, linger: time.Millisecond, settle: time.Millisecond, handshake: 5 * time.Second,
}

// node is a node with one workload, which the cross-connect joins to the other
// node's by the encrypted tunnel.
type node struct {
	t        testing.TB
	ns       string
	addr     netip.Addr
	cfg      Config
	m        *Manager
	x        *xconnect.XConnect
	workload string // its namespace
	inside   netip.Addr
	mac      net.HardwareAddr
	outer    int // outer end of its interface
	tunnels  map[xconnect.TunnelKey]xconnect.Tunnel
	path     Path
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// newPair makes two nodes with an underlay of the addresses' family between
// them, without Managers.
func newPair(t testing.TB, mode Mode, addrA, addrB string) (a, b *node) {
	t.Helper()
	a = newNode(t, mode, netip.MustParsePrefix(addrA), "192.0.2.1")
	b = newNode(t, mode, netip.MustParsePrefix(addrB), "192.0.2.2")
	h := testutil.Handle(t, a.ns)
	ours, theirs, err := h.AddVeth(nl.Veth{Name: "u0", PeerName: "u0", PeerNetNS: b.ns, MTU: 1500, PeerUp: true})
	must(t, err, h.SetUp(ours.Index), h.AddAddress(ours.Index, netip.MustParsePrefix(addrA)),
		testutil.Handle(t, b.ns).AddAddress(theirs.Index, netip.MustParsePrefix(addrB)))
	// The addresses of workloads behind a tunnel are resolved by hand.
	wa, wb := testutil.Handle(t, a.workload), testutil.Handle(t, b.workload)
	must(t, wa.AddNeighbour(testutil.Link(t, a.workload, "w0").Index, b.inside, xconnect.DefaultGateway),
		wb.AddNeighbour(testutil.Link(t, b.workload, "w0").Index, a.inside, a.mac))
	return a, b
}

func newNode(t testing.TB, mode Mode, addr netip.Prefix, inside string) *node {
	t.Helper()
	n := &node{
		t: t, ns: testutil.NetNS(t), workload: testutil.NetNS(t), addr: addr.Addr(),
		inside: netip.MustParseAddr(inside), tunnels: map[xconnect.TunnelKey]xconnect.Tunnel{},
	}
	n.cfg = Config{
		NetNS: n.ns, Dir: t.TempDir(), Mode: mode, Port: 51820, Local: n.addr, Rotate: -1,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	h := testutil.Handle(t, n.ns)
	outer, inner, err := h.AddVeth(nl.Veth{Name: "port", PeerName: "w0", PeerNetNS: n.workload, MTU: 1500, PeerUp: true})
	must(t, err, h.SetUp(outer.Index),
		testutil.Handle(t, n.workload).AddAddress(inner.Index, netip.PrefixFrom(n.inside, 24)))
	n.outer, n.mac = outer.Index, inner.MAC
	n.x, err = xconnect.Open(xconnect.Config{NetNS: n.ns})
	must(t, err, n.x.Attach(n.outer))
	t.Cleanup(func() { must(t, n.x.Close(false)) })
	return n
}

// open opens the node's Manager, which ends with the test if it is still there.
func (n *node) open() {
	n.t.Helper()
	m, err := open(n.cfg, fastTiming, innerAddress)
	must(n.t, err)
	n.m = m
	n.t.Cleanup(func() { must(n.t, m.Close(false)) })
	must(n.t, n.x.AttachDevice(m.Device()))
}

func (n *node) peer(o, offered Offer) Peer {
	return Peer{Addr: n.addr, Port: o.Port, PublicKey: o.PublicKey, Offered: offered.PublicKey}
}

// request joins both nodes as a Request of the connection from a to b does. While
// the answer is under way, meanwhile is called.
func request(t testing.TB, a, b *node, meanwhile func()) {
	t.Helper()
	ofA, ofB := a.m.Offer(), b.m.Offer()
	path, err := b.m.Join(t.Context(), connection, a.peer(ofA, ofB))
	must(t, err)
	b.stitch(path, b.endpoint())
	meanwhile()
	path, err = a.m.Join(t.Context(), connection, b.peer(ofB, ofA))
	must(t, err)
	a.stitch(path, a.client(b))
}

func (n *node) client(to *node) func(xconnect.Tunnel) error {
	return func(tun xconnect.Tunnel) error {
		return n.x.SetClient(n.outer, []xconnect.Leg{{Tunnel: tun, MAC: to.mac}})
	}
}

func (n *node) endpoint() func(xconnect.Tunnel) error {
	return func(tun xconnect.Tunnel) error { return n.x.SetEndpointBehind(n.outer, tun) }
}

// stitch sends by the path and accepts by it and the former ones.
func (n *node) stitch(path Path, send func(xconnect.Tunnel) error) {
	n.t.Helper()
	n.path = path
	wanted := map[xconnect.TunnelKey]xconnect.Tunnel{}
	tunnel := func(remote netip.Addr) xconnect.Tunnel {
		return xconnect.Tunnel{Device: path.Device, Local: path.Local, Remote: remote, VNI: testVNI}
	}
	for _, remote := range append([]netip.Addr{path.Remote}, path.Former...) {
		tun := tunnel(remote)
		wanted[tun.Key()] = tun
		must(n.t, n.x.SetTunnel(tun, xconnect.TunnelPort{IfIndex: n.outer}))
	}
	must(n.t, send(tunnel(path.Remote)))
	for key, tun := range n.tunnels {
		if _, ok := wanted[key]; !ok {
			must(n.t, n.x.DeleteTunnel(tun))
		}
	}
	n.tunnels = wanted
}

func (n *node) in(fn func() error) error { return netns.Do(n.workload, fn) }

// serve answers TCP and UDP in the node's workload and returns where.
func (n *node) serve() netip.AddrPort {
	n.t.Helper()
	var s *traffic.Server
	must(n.t, n.in(func() (err error) { s, err = traffic.Serve("it", echoPort); return err }))
	n.t.Cleanup(s.Close)
	return netip.AddrPortFrom(n.inside, echoPort)
}

// ask exchanges UDP packets until limit and tells whether one came back.
func (n *node) ask(to netip.AddrPort) bool {
	_, err := traffic.Ask(traffic.DialIn(n.in), "udp", to, time.Second)
	return err == nil
}

func (n *node) mustReach(to netip.AddrPort) {
	n.t.Helper()
	testutil.Eventually(n.t, 30*time.Second, "an answer through the tunnel", func() bool { return n.ask(to) })
}

// generationCount counts what the node's private namespace really has.
func (n *node) generationCount() (count int) {
	n.t.Helper()
	must(n.t, withHandle(n.m.Private(), func(h *nl.Handle) error {
		links, err := h.Links()
		for _, l := range links {
			if l.Name != "lo" {
				count++
			}
		}
		return err
	}))
	return count
}
