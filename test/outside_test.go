// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

// site is the outside of a trench: a router with clients on it, and the load
// balancers that it reaches, each by a veth of its own.
type site struct {
	t          *testing.T
	number     byte // 1 is that of trench-a in the example's resources, 2 of trench-b
	router     string
	net4, net6 netip.Prefix
	bridged    bool   // the replicas are on one link, as a switch makes it
	used       []byte // replicas that the VIPs are routed to
}

func newSite(t *testing.T, number byte) *site {
	t.Helper()
	o := &site{
		t: t, number: number, router: testutil.NetNS(t),
		net4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, number, 0, 0}), 24),
		net6: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: number}), 64),
	}
	// ECMP by the whole flow, as routers do it.
	must(t, netns.Do(o.router, func() error {
		return errors.Join(sysctl("net.ipv6.conf.default.accept_dad", "0"),
			sysctl("net.ipv4.fib_multipath_hash_policy", "1"), sysctl("net.ipv6.fib_multipath_hash_policy", "1"))
	}))
	return o
}

func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(key, ".", "/"), []byte(value), 0)
}

// host is the address of a prefix with this last byte.
func host(p netip.Prefix, last byte) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = last
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (o *site) gateway(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return host(p, 254)
	}
	return host(p, 0xfe)
}

// connect makes the namespace of a replica, with its external interface.
func (o *site) connect(number byte) string {
	o.t.Helper()
	path := testutil.NetNS(o.t)
	must(o.t, netns.Do(path, func() error { return sysctl("net.ipv6.conf.default.accept_dad", "0") }))
	var peer nl.Link
	withHandle(o.t, o.router, func(h *nl.Handle) {
		link, inner, err := h.AddVeth(nl.Veth{Name: uplink(number), PeerName: external, PeerNetNS: path, PeerUp: true})
		must(o.t, err)
		peer = inner
		must(o.t, h.SetUp(link.Index))
		if o.bridged {
			bridge, err := h.LinkByName(wire)
			must(o.t, err)
			must(o.t, h.SetMaster(link.Index, bridge.Index))
			return
		}
		for _, p := range []netip.Prefix{o.net4, o.net6} {
			gateway := o.gateway(p)
			must(o.t, h.AddAddress(link.Index, netip.PrefixFrom(gateway, gateway.BitLen())))
			must(o.t, h.AddRoute(nl.Route{Index: link.Index, Prefix: netip.PrefixFrom(host(p, number), gateway.BitLen())}))
		}
	})
	withHandle(o.t, path, func(h *nl.Handle) {
		for _, p := range []netip.Prefix{o.net4, o.net6} {
			must(o.t, h.AddAddress(peer.Index, netip.PrefixFrom(host(p, number), p.Bits())))
		}
	})
	return path
}

func uplink(number byte) string { return fmt.Sprintf("lb%d", number) }

// legPrefixes are where a replica's leg addresses come from.
func (o *site) legPrefixes(number byte) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + o.number, number, 0}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x10 + o.number, 3: number}), 64),
	}
}

// use routes addresses to the replicas with these numbers, the VIPs when none
// are given: what BGP would do.
func (o *site) use(numbers []byte, addresses ...netip.Addr) {
	o.t.Helper()
	if len(addresses) == 0 {
		addresses, o.used = vips, numbers
	}
	withHandle(o.t, o.router, func(h *nl.Handle) {
		for _, address := range addresses {
			net := o.net4
			if address.Is6() {
				net = o.net6
			}
			var hops []nl.NextHop
			for _, n := range numbers {
				link, err := h.LinkByName(uplink(n))
				must(o.t, err)
				hops = append(hops, nl.NextHop{Index: link.Index, Gateway: host(net, n)})
			}
			must(o.t, h.ReplaceRoute(nl.Route{Prefix: netip.PrefixFrom(address, address.BitLen()), Multipath: hops}))
		}
	})
}

// dial opens sockets in the router's namespace.
func (o *site) dial() traffic.Dialer {
	return traffic.DialIn(func(fn func() error) error { return netns.Do(o.router, fn) })
}

func destinations(port uint16) []netip.AddrPort {
	var to []netip.AddrPort
	for _, vip := range vips {
		to = append(to, netip.AddrPortFrom(vip, port))
	}
	return to
}

// reach asks both VIPs by TCP and UDP and fails unless every question is
// answered, by each of these workloads and nobody else, and without NAT.
func (o *site) reach(port uint16, workloads ...*workload) {
	o.t.Helper()
	for _, to := range destinations(port) {
		o.reachAt(to, workloads...)
	}
}

// reachAt is reach for one destination.
func (o *site) reachAt(to netip.AddrPort, workloads ...*workload) {
	o.t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		tally := traffic.AskMany(o.dial(), network, []netip.AddrPort{to}, 20*len(workloads), 8, 5*time.Second)
		if tally.Answered != tally.Asked || tally.Rewritten != 0 {
			o.t.Errorf("%s %s: %d of %d answered, %d with another source: %v", network, to,
				tally.Answered, tally.Asked, tally.Rewritten, tally.FirstError)
		}
		for _, w := range workloads {
			if tally.ByServer[w.name] == 0 {
				o.t.Errorf("%s %s: nothing from %s: %v", network, to, w.name, tally.ByServer)
			}
			delete(tally.ByServer, w.name)
		}
		if len(tally.ByServer) != 0 {
			o.t.Errorf("%s %s: answers from others, too: %v", network, to, tally.ByServer)
		}
	}
}

// silent fails when anything answers at a destination.
func (o *site) silent(to netip.AddrPort) {
	o.t.Helper()
	tally := traffic.AskMany(o.dial(), "udp", []netip.AddrPort{to}, 4, 4, pollTimeout)
	if tally.Answered != 0 {
		o.t.Errorf("%s answers: %v", to, tally.ByServer)
	}
}

// load is steady UDP traffic and long-lived TCP connections.
type load struct {
	t      *testing.T
	steady *traffic.Steady
	pool   *traffic.Pool
	mark   traffic.Mark
	before traffic.PoolStats
}

const (
	// pollTimeout is how long an answer may take where none is a possible
	// outcome.
	pollTimeout = 200 * time.Millisecond

	loadFlows = 64
	loadRate  = 2000 // packets per second
	loadConns = 16
)

// load starts traffic to the destinations; they must answer already.
func (o *site) load(to ...netip.AddrPort) *load {
	o.t.Helper()
	l := &load{t: o.t}
	var err error
	l.pool, err = traffic.StartPool(o.dial(), to, loadConns)
	must(o.t, err)
	o.t.Cleanup(l.pool.Stop)
	l.steady, err = traffic.StartSteady(traffic.SteadyConfig{To: to, Flows: loadFlows, Rate: loadRate, Dial: o.dial()})
	must(o.t, err)
	o.t.Cleanup(l.steady.Stop)
	// Every flow needs an answer before anything changes: it tells whose it is.
	mark := l.steady.Mark()
	testutil.Eventually(o.t, patience, "requests of every flow", func() bool {
		return l.steady.Mark().Sent()-mark.Sent() >= 2*loadFlows
	})
	if w := l.steady.Between(mark, l.steady.Mark()); w.Lost > 0 {
		o.t.Fatalf("%d of %d packets are lost before anything changes", w.Lost, w.Sent)
	}
	l.begin()
	return l
}

// begin opens a window.
func (l *load) begin() { l.before, l.mark = l.pool.Stats(), l.steady.Mark() }

// end lets a few more packets pass and returns what happened since begin.
func (l *load) end() (w traffic.Window, broken int) {
	l.t.Helper()
	mark, lines := l.steady.Mark(), l.pool.Stats().Lines
	testutil.Eventually(l.t, patience, "more traffic", func() bool {
		return l.steady.Mark().Sent()-mark.Sent() >= 4*loadFlows && l.pool.Stats().Lines-lines >= 2*loadConns
	})
	w = l.steady.Between(l.mark, l.steady.Mark())
	return w, l.pool.Stats().Broken - l.before.Broken
}

// untouched fails unless nothing was lost, moved or broken since begin, and
// opens the next window.
func (l *load) untouched(what string) {
	l.t.Helper()
	if w, broken := l.end(); w.Lost != 0 || w.MovedFlows != 0 || broken != 0 {
		l.t.Errorf("%s: of %d packets %d were lost, %d flows moved, %d connections broke: %v",
			what, w.Sent, w.Lost, w.MovedFlows, broken, l.pool.Stats().LastUnmoved)
	}
	l.begin()
}

// moved fails when anything was lost or broken since begin beyond the flows
// that the tables moved to another workload, and opens the next window.
func (l *load) moved(what string) {
	l.t.Helper()
	w, _ := l.end()
	testutil.Eventually(l.t, patience, "broken connections to be open again", func() bool { return l.pool.Stats().Open == loadConns })
	after := l.pool.Stats()
	beyond := after.BrokenUnmoved() - l.before.BrokenUnmoved()
	if w.LostUnmoved != 0 || beyond != 0 {
		l.t.Errorf("%s: of %d packets %d were lost and %d connections broke on flows that did not move: %v",
			what, w.Sent, w.LostUnmoved, beyond, after.LastUnmoved)
	}
	l.t.Logf("%s: %d packets, %d flows moved, %d lost on those", what, w.Sent, w.MovedFlows, w.Lost)
	l.begin()
}
