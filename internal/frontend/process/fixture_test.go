// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

func TestMain(m *testing.M) {
	MaybeServe()
	os.Exit(m.Run())
}

const (
	awhile   = 30 * time.Second
	testTabl = 4711
	ourAS    = 65001
	theirAS  = 65002
)

var (
	vip4 = netip.MustParsePrefix("203.0.113.1/32")
	vip6 = netip.MustParsePrefix("2001:db8:ffff::1/128")
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)

// world is a frontend's namespace and gateways on one network. The frontend has
// 192.0.2.100 and 2001:db8::100, gateway i 192.0.2.i and 2001:db8::i.
type world struct {
	t        *testing.T
	ns, wire string
	gateways []string // namespaces, from 1 on
	socket   string
	p        *Process
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newWorld(t *testing.T, gateways int) *world {
	t.Helper()
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	// Not t.TempDir, whose paths may be too long for a socket.
	dir, err := os.MkdirTemp("", "weft-fe-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	w := &world{t: t, ns: testutil.NetNS(t), wire: testutil.NetNS(t), gateways: []string{""}, socket: filepath.Join(dir, "s")}
	bridge, err := testutil.Handle(t, w.wire).AddBridge("wire")
	must(t, err, testutil.Handle(t, w.wire).SetUp(bridge.Index))
	w.join(w.ns, "ext0", 100)
	for i := range gateways {
		ns := testutil.NetNS(t)
		w.gateways = append(w.gateways, ns)
		w.join(ns, "eth0", i+1)
	}
	return w
}

// join connects a namespace to the wire.
func (w *world) join(ns, name string, host int) {
	w.t.Helper()
	h, wire := testutil.Handle(w.t, ns), testutil.Handle(w.t, w.wire)
	link, _, err := h.AddVeth(nl.Veth{
		Name: name, PeerName: fmt.Sprintf("p%d", host), PeerNetNS: w.wire, PeerUp: true, NoLinkLocal: true,
		Alias: "test",
	})
	must(w.t, err)
	port := testutil.Link(w.t, w.wire, fmt.Sprintf("p%d", host))
	must(w.t, wire.SetMaster(port.Index, testutil.Link(w.t, w.wire, "wire").Index), h.SetUp(link.Index))
	for _, a := range []string{"192.0.2.%d/24", "2001:db8::%d/64", "fe80::%d/64"} {
		must(w.t, h.AddAddress(link.Index, netip.MustParsePrefix(fmt.Sprintf(a, host))))
	}
}

// cut takes the port of a host off the wire, or puts it back, which neither end
// notices by its carrier.
func (w *world) cut(host int, off bool) {
	w.t.Helper()
	h, port, master := testutil.Handle(w.t, w.wire), testutil.Link(w.t, w.wire, fmt.Sprintf("p%d", host)).Index, 0
	if !off {
		master = testutil.Link(w.t, w.wire, "wire").Index
	}
	must(w.t, h.SetMaster(port, master))
}

// start starts or finds the frontend's process. It ends with the test.
func (w *world) start(options ...func(*Options)) *Process {
	w.t.Helper()
	o := Options{NetNS: w.ns, Socket: w.socket, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))}
	for _, set := range options {
		set(&o)
	}
	p, err := Start(w.t.Context(), o)
	must(w.t, err)
	w.p = p
	w.t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	return p
}

func gatewayAddr(i int, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i))
	}
	return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))
}

func bfdOf() *frontend.BFD {
	return &frontend.BFD{MinTx: 50 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 3}
}

// calmBFD is for tests that are not about how fast a failure is noticed.
func calmBFD() *frontend.BFD {
	return &frontend.BFD{MinTx: 100 * time.Millisecond, MinRx: 300 * time.Millisecond, Multiplier: 10}
}

func bgpOf() *frontend.BGP {
	return &frontend.BGP{LocalASN: ourAS, RemoteASN: theirAS, HoldTime: 90 * time.Second}
}

func gateway(i int, v6 bool, b *frontend.BGP, f *frontend.BFD) frontend.Gateway {
	return frontend.Gateway{Name: fmt.Sprintf("gw%d", i), Address: gatewayAddr(i, v6), BGP: b, BFD: f}
}

func config(gateways ...frontend.Gateway) frontend.Config {
	return frontend.Config{
		Replica: "replica", Interface: "ext0", Table: testTabl, Gateways: gateways,
		VIPs: []netip.Prefix{vip4, vip6}, Announce: []netip.Prefix{vip4, vip6}, GracefulRestart: 60 * time.Second,
	}
}

func (w *world) set(c frontend.Config) {
	w.t.Helper()
	must(w.t, w.p.Set(w.t.Context(), c))
}

func (w *world) eventually(what string, ok func(frontend.Status) bool) {
	w.t.Helper()
	var s frontend.Status
	deadline := time.Now().Add(awhile)
	for time.Now().Before(deadline) {
		if s = w.p.Status(); ok(s) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.t.Fatalf("%s: not within %v; %s", what, awhile, describe(s))
}

func describe(s frontend.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "problem %q\n", s.Problem)
	for _, g := range s.Gateways {
		fmt.Fprintf(&b, "%s up=%v %q bgp=%+v bfd=%+v\n", g.Name, g.Up, g.Reason, g.BGP, g.BFD)
	}
	for _, r := range s.Routes {
		fmt.Fprintf(&b, "%+v\n", r)
	}
	return b.String()
}

func (w *world) allUp(what string) {
	w.t.Helper()
	w.eventually(what, func(s frontend.Status) bool {
		return len(s.Gateways) == len(w.gateways)-1 && !slices.ContainsFunc(s.Gateways, func(g frontend.GatewayStatus) bool { return !g.Up })
	})
}

// table is what the kernel has, by prefix, without the blackholes.
func (w *world) table() map[netip.Prefix]string {
	w.t.Helper()
	routes, err := testutil.Handle(w.t, w.ns).Routes(testTabl)
	must(w.t, err)
	found := map[netip.Prefix]string{}
	for _, r := range routes {
		if r.Blackhole {
			continue
		}
		var hops []string
		for _, hop := range r.Multipath {
			hops = append(hops, hop.Gateway.String())
		}
		if r.Gateway.IsValid() {
			hops = append(hops, r.Gateway.String())
		}
		slices.Sort(hops)
		found[r.Prefix] = strings.Join(hops, " ")
	}
	return found
}

func (w *world) routesBecome(want map[netip.Prefix]string) {
	w.t.Helper()
	deadline := time.Now().Add(awhile)
	var got map[netip.Prefix]string
	for time.Now().Before(deadline) {
		if got = w.table(); fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("table is %v, want %v; %s", got, want, describe(w.p.Status()))
}

// nothingLeft checks that no route or rule of ours is there.
func (w *world) nothingLeft() {
	w.t.Helper()
	h := testutil.Handle(w.t, w.ns)
	routes, err := h.Routes(testTabl)
	must(w.t, err)
	rules, err := h.Rules()
	must(w.t, err)
	if len(routes)+len(rules) > 0 {
		w.t.Errorf("left behind: %v %v", routes, rules)
	}
}

// birdConfig is a BIRD gateway's.
func birdConfig(i int, v6, withBGP, withBFD bool, more string) string {
	us, them := "192.0.2.100", gatewayAddr(i, v6)
	if v6 {
		us = "2001:db8::100"
	}
	text := fmt.Sprintf("router id 192.0.2.%d;\nprotocol device { scan time 1; }\nprotocol direct { ipv4; ipv6; interface \"eth0\"; }\n", i)
	if withBFD {
		text += "protocol bfd b1 { accept direct; interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 200 ms; multiplier 3; };"
		if !withBGP {
			text += fmt.Sprintf(" neighbor %s dev \"eth0\" local %s;", us, them)
		}
		text += " }\n"
	}
	text += "protocol static s4 { ipv4; route 0.0.0.0/0 blackhole; route 198.51.100.0/24 blackhole; " + more + "}\n"
	text += "protocol static s6 { ipv6; route ::/0 blackhole; route 2001:db8:9::/48 blackhole; }\n"
	if withBGP {
		bfd := ""
		if withBFD {
			bfd = "bfd graceful;"
		}
		text += fmt.Sprintf(`protocol bgp p1 {
	local %s as %d; neighbor %s as %d; %s connect delay time 1; error wait time 1, 2; graceful restart on;
	ipv4 { import all; export where source = RTS_STATIC; next hop self; };
	ipv6 { import all; export where source = RTS_STATIC; next hop self; };
}
`, them, theirAS, us, ourAS, bfd)
	}
	return text
}

// frrConfig is that of an FRR gateway with the address 192.0.2.2.
const frrConfig = `
bfd
 profile fast
  receive-interval 50
  transmit-interval 50
  detect-multiplier 3
 exit
exit
router bgp 65002
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 neighbor 192.0.2.100 remote-as 65001
 neighbor 192.0.2.100 bfd profile fast
 neighbor 192.0.2.100 timers connect 1
 address-family ipv4 unicast
  network 0.0.0.0/0
  network 198.51.100.0/24
 exit-address-family
exit
`
