// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// TestSpread has next hops share the slots about equally, and those that stay keep
// theirs when one goes.
func TestSpread(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8, 64} {
		var list []netip.Addr
		for i := range n {
			list = append(list, netip.AddrFrom4([4]byte{169, 254, byte(n), byte(i + 1)}))
		}
		var before, after [gatewaySlots]uint8
		spread(list, &before, nil, nil)
		share := make([]int, n)
		for _, hop := range before {
			share[hop]++
		}
		for hop, have := range share {
			if fair := float64(gatewaySlots) / float64(n); float64(have) < 0.6*fair || float64(have) > 1.4*fair {
				t.Errorf("%d hops: hop %d has %d slots, %.0f are fair", n, hop, have, fair)
			}
		}
		if n == 1 {
			continue
		}
		gone := n / 2
		less := append(append([]netip.Addr{}, list[:gone]...), list[gone+1:]...)
		spread(less, &after, nil, nil)
		var step, back [gatewaySlots]uint8
		spread(less, &step, list, &before)
		spread(list, &back, less, &step)
		if step != after || back != before {
			t.Errorf("%d hops: a step at a time ends elsewhere", n)
		}
		for slot := range before {
			if was := before[slot]; int(was) != gone && list[was] != less[after[slot]] {
				t.Fatalf("%d hops: slot %d went from %s to %s without need", n, slot, list[was], less[after[slot]])
			}
		}
	}
}

func TestGatewaysValidate(t *testing.T) {
	a := netip.MustParseAddr
	for want, g := range map[string]Gateways{
		"":                                      {Default4: []netip.Addr{a("10.0.0.1"), a("fe80::1%ext")}, Default6: []netip.Addr{a("fe80::1")}},
		"gateway invalid IP of IPv4":            {Default4: []netip.Addr{{}}},
		"gateway 127.0.0.1 of IPv4":             {Default4: []netip.Addr{a("127.0.0.1")}},
		"gateway 10.0.0.1 of IPv6: an IPv4":     {Default6: []netip.Addr{a("10.0.0.1")}},
		"gateway ff02::1 of IPv6":               {Default6: []netip.Addr{a("ff02::1")}},
		"65 gateways of IPv4: at most 64":       {Default4: make([]netip.Addr, 65)},
		"gateway ::ffff:10.0.0.1 of IPv4: not ": {Default4: []netip.Addr{a("::ffff:10.0.0.1")}},
	} {
		err := g.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// gatewayOf returns where replies of a family go.
func gatewayOf(t testing.TB, l *LB, f fixFamily, to netip.Addr) Verdict {
	t.Helper()
	f.reply.Dst = to
	v, _, err := l.TraceReply(response(toUs, f.reply, packet.TCP, webPort))
	check(t, err)
	return v
}

// TestRoutes has the kernel's table decide, with next hops of either family, more
// specific routes, and routes that lead nowhere.
func TestRoutes(t *testing.T) {
	const table = 4242
	l := newLB(t, Config{})
	fixtureRules(t, l)
	h := testutil.Handle(t, l.cfg.NetNS)
	index := l.id.ifindex
	check(t, h.SetUp(index))
	check(t, h.SetUp(1))
	for _, address := range []string{"10.0.0.250/16", "2001:db8::fa/64"} {
		check(t, h.AddAddress(index, netip.MustParsePrefix(address)))
	}
	g := fixGateways
	g.Table = table
	check(t, l.SetGateways(g))
	if got := l.Gateways(); !got.Equal(g) {
		t.Errorf("in force: %+v, want %+v", got, g)
	}
	add := func(prefix, hop string) {
		t.Helper()
		check(t, h.AddRoute(nl.Route{Index: index, Table: table, Prefix: netip.MustParsePrefix(prefix), Gateway: netip.MustParseAddr(hop), OnLink: true}))
	}
	far4, far6 := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:f::7")
	expect := func(what string, f fixFamily, to netip.Addr, reason Reason, hop string) {
		t.Helper()
		v := gatewayOf(t, l, f, to)
		if v.Reason != reason || hop != "" && v.Gateway.String() != hop {
			t.Errorf("%s: %s by %s, want %s by %s", what, v.Reason, v.Gateway, reason, hop)
		}
		if f.name == "4" && reason == ReplyForwarded {
			asked, _, err := l.TraceReply(fragmentOf(f.reply.Src, to))
			check(t, err)
			if asked.Gateway != v.Gateway {
				t.Errorf("%s: fragments go by %s, whole packets by %s", what, asked.Gateway, v.Gateway)
			}
		}
	}
	four, six := fixFamilies[0], fixFamilies[1]
	expect("no route", four, far4, ReplyForwarded, four.gateway.String())
	expect("no route", six, far6, ReplyForwarded, six.gateway.String())
	add("198.51.100.0/24", "10.0.0.77")
	add("2001:db8:f::/48", "2001:db8::77")
	expect("specific", four, far4, ReplyForwarded, "10.0.0.77")
	expect("specific", six, far6, ReplyForwarded, "2001:db8::77")
	expect("another", four, fixSrc4, ReplyForwarded, four.gateway.String())
	ipRoute(t, l.cfg.NetNS, "198.51.100.7/32 via inet6 2001:db8::78 dev "+l.cfg.Interface+" onlink table 4242") // RFC 8950
	expect("of another family", four, far4, ReplyForwarded, "2001:db8::78")
	hops := ""
	for _, hop := range []string{"10.0.0.71", "10.0.0.72"} {
		hops += " nexthop via " + hop + " dev " + l.cfg.Interface + " onlink"
	}
	ipRoute(t, l.cfg.NetNS, "203.0.113.0/25 table 4242"+hops)
	shared := map[netip.Addr]int{}
	for i := range byte(100) {
		shared[gatewayOf(t, l, four, netip.AddrFrom4([4]byte{203, 0, 113, i})).Gateway]++
	}
	if len(shared) != 2 {
		t.Errorf("two next hops: %v", shared)
	}
	for _, nowhere := range []string{"0.0.0.0/0", "::/0"} {
		ipRoute(t, l.cfg.NetNS, "blackhole "+nowhere+" table 4242 metric 4294967295")
	}
	// The loopback interface leads into another network.
	ipRoute(t, l.cfg.NetNS, "192.0.2.0/24 dev lo table 4242")
	expect("another interface", four, netip.MustParseAddr("192.0.2.1"), DropNoRoute, "")
	expect("blackhole", four, netip.MustParseAddr("203.0.113.200"), DropNoRoute, "")
	expect("blackhole", six, netip.MustParseAddr("2001:db9::1"), DropNoRoute, "")
	expect("specific beside it", six, far6, ReplyForwarded, "2001:db8::77")
	g.Table = 0
	check(t, l.SetGateways(g))
	expect("without table", four, far4, ReplyForwarded, four.gateway.String())
}

// ipRoute adds a route as iproute2 writes it.
func ipRoute(t *testing.T, ns, route string) {
	t.Helper()
	family := "-4"
	if strings.Contains(route, "::/") {
		family = "-6"
	}
	check(t, netns.Do(ns, func() error {
		out, err := exec.Command("ip", append([]string{family, "route", "add"}, strings.Fields(route)...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip route add %s: %w: %s", route, err, out)
		}
		return nil
	}))
}

// TestGatewayChoice: a flow keeps its gateway when another goes, an IPv4 packet
// may have an IPv6 one.
func TestGatewayChoice(t *testing.T) {
	l := newLB(t, Config{})
	fixtureRules(t, l)
	all := Gateways{Default4: []netip.Addr{
		netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fe80::3"),
	}}
	check(t, l.SetGateways(all))
	choose := func() map[string]netip.Addr {
		chosen := map[string]netip.Addr{}
		for i := range 300 {
			to := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
			chosen[to.String()] = gatewayOf(t, l, fixFamilies[0], to).Gateway
		}
		return chosen
	}
	before, seen := choose(), map[netip.Addr]int{}
	for _, hop := range before {
		seen[hop]++
	}
	if len(seen) != 3 {
		t.Errorf("chosen: %v", seen)
	}
	less := Gateways{Default4: all.Default4[:2]}
	check(t, l.SetGateways(less))
	for to, hop := range choose() {
		if before[to] != all.Default4[2] && before[to] != hop {
			t.Errorf("%s went from %s to %s", to, before[to], hop)
		}
	}
}

// BenchmarkSetGateways replaces one of the gateways.
func BenchmarkSetGateways(b *testing.B) {
	for _, n := range []int{2, 8, 64} {
		b.Run(fmt.Sprintf("gateways=%d", n), func(b *testing.B) {
			l := newLB(b, Config{})
			var list []netip.Addr
			for i := range n + 1 {
				list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
			}
			for i := 0; b.Loop(); i++ {
				check(b, l.SetGateways(Gateways{Default4: list[i%2:][:n]}))
			}
		})
	}
}

// BenchmarkReply measures the reply program net of an empty one, without and with
// a lookup in the kernel's table.
func BenchmarkReply(b *testing.B) {
	for _, table := range []uint32{0, 4242} {
		for _, f := range fixFamilies {
			b.Run(fmt.Sprintf("table=%d/IPv%s", table, f.name), func(b *testing.B) {
				l := newLB(b, Config{})
				fixtureRules(b, l)
				g := fixGateways
				g.Table = table
				check(b, l.SetGateways(g))
				h := testutil.Handle(b, l.cfg.NetNS)
				check(b, h.SetUp(l.id.ifindex))
				for i, address := range []string{"10.0.0.250/16", "2001:db8::fa/64"} {
					check(b, h.AddAddress(l.id.ifindex, netip.MustParsePrefix(address)))
					check(b, h.AddRoute(nl.Route{
						Index: l.id.ifindex, Table: 4242, OnLink: true, Gateway: fixFamilies[i].gateway,
						Prefix: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}[i],
					}))
				}
				f.reply.TTL = 255
				frame := response(toUs, f.reply, packet.UDP, webPort)
				empty := bpftest.Empty(b)
				var base, full []float64
				for b.Loop() {
					base = append(base, timeProgram(b, l, empty, frame, benchRepeat))
					full = append(full, timeProgram(b, l, l.objs.LbReply, frame, benchRepeat))
				}
				b.ReportMetric(bpftest.Median(full)-bpftest.Median(base), "net-ns/pkt")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// TestIPv6Gateway has IPv4 replies leave to an IPv6 next hop (RFC 8950) for real.
func TestIPv6Gateway(t *testing.T) {
	top := newTopology(t, 1, 0)
	top.balance(t)
	nameServer(t, top.targets[0], "target-0")
	check(t, top.lb.SetGateways(Gateways{Default4: []netip.Addr{client6}}))
	for range 20 {
		if _, err := ask(top.client, "udp", routed4, client4); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask(top.client, "tcp", routed4, client4); err != nil {
		t.Error(err)
	}
}

// TestGatewayChangesUnderTraffic changes the gateways while replies pass; none may
// be lost.
func TestGatewayChangesUnderTraffic(t *testing.T) {
	top := newTopology(t, 1, 0)
	top.balance(t)
	nameServer(t, top.targets[0], "target-0")
	done, failed := make(chan struct{}), make(chan error, 1)
	asked := 0
	go func() {
		defer close(failed)
		for ; ; asked++ {
			select {
			case <-done:
				return
			default:
			}
			vip, from := routed4, client4
			if asked%2 == 0 {
				vip, from = routed6, client6
			}
			if _, err := ask(top.client, "udp", vip, from); err != nil {
				failed <- fmt.Errorf("exchange %d: %w", asked, err)
				return
			}
		}
	}()
	for i := range 400 {
		g := clientGateways
		switch i % 4 {
		case 1:
			g.Default4 = []netip.Addr{client6}
		case 2:
			g.Default4 = []netip.Addr{client4, client6}
		case 3:
			g.Table = 4242
		}
		check(t, top.lb.SetGateways(g))
		time.Sleep(time.Millisecond) // what is tested is the time in between
	}
	close(done)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	t.Logf("%d exchanges", asked)
	counts, err := top.lb.Counters()
	check(t, err)
	for r, n := range counts {
		if r.Drop() && n != 0 {
			t.Errorf("%d packets dropped: %s", n, r)
		}
	}
}

// TestGatewaysInherited: a successor begins with the gateways of a predecessor, and
// has others when it is told.
func TestGatewaysInherited(t *testing.T) {
	cfg := Config{PinDir: filepath.Join(pinsOf(t), "lb-1")}
	l := newLB(t, cfg)
	g := Gateways{
		Default4: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")},
		Default6: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Table: 4242,
	}
	check(t, l.SetGateways(Gateways{Default6: g.Default6}))
	check(t, l.SetGateways(g))
	cfg.NetNS, cfg.Interface = l.cfg.NetNS, l.cfg.Interface
	check(t, l.Abandon())
	next, err := New(cfg)
	check(t, err)
	defer func() { check(t, next.Close()) }()
	if got := next.Gateways(); !next.Shadow() || !got.Equal(g) {
		t.Errorf("in the shadow: %v, %+v", next.Shadow(), got)
	}
	if r, err := next.Probe(make([]byte, 60)); err != nil || !errors.Is(r.Err(), ErrNotSeen) {
		t.Errorf("a probe in the shadow: %+v, %v", r, err)
	}
	check(t, next.TakeOver())
	if got := next.Gateways(); !got.Equal(g) {
		t.Errorf("after it: %+v", got)
	}
	check(t, next.SetGateways(Gateways{}))
	if got := next.Gateways(); !got.Equal(Gateways{}) {
		t.Errorf("told others: %+v", got)
	}
}
