// SPDX-License-Identifier: Apache-2.0

package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

const port = 5000

var (
	gateway4 = netip.MustParseAddr("169.254.87.1")
	gateway6 = netip.MustParseAddr("fe80::57:4546:5401")
)

// replica is a balancer over the real data plane in a namespace.
type replica struct {
	*balancer.Balancer
	t      testing.TB
	router *lbtest.Router
	netNS  string
	plane  *lb.LB
}

func newReplica(t testing.TB) *replica {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	r := &replica{t: t, router: lbtest.NewRouter(t)}
	r.netNS = r.router.AddReplica()
	var err error
	r.plane, err = lb.New(lb.Config{NetNS: r.netNS, Interface: lbtest.External})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.plane.Close(); err != nil {
			t.Error(err)
		}
	})
	limits := balancer.Limits{Streams: lb.DefaultMaxStreams, Targets: lb.DefaultMaxTargets}
	r.Balancer, err = balancer.New(r.plane, balancer.NamespaceLinks(r.netNS), limits, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := r.SetConfig(t.Context(), r.router.Config(1)); err != nil {
		t.Fatal(err)
	}
	return r
}

func target(i int) balancer.Target {
	return balancer.Target{
		Name: fmt.Sprintf("target-%d", i), Connection: fmt.Sprintf("conn-%d", i), Interface: fmt.Sprintf("leg-%d", i),
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}, LegMAC: net.HardwareAddr{6, 0, 0, 0, 0, byte(i)},
		Streams: []string{"web"},
	}
}

// connect makes target i's namespace with its interface, VIPs and routes, as
// the forwarder would; the leg's end stays down. It returns the namespace.
func (r *replica) connect(i int) string {
	r.t.Helper()
	ns := testutil.NetNS(r.t)
	want := target(i)
	_, peer, err := testutil.Handle(r.t, r.netNS).AddVeth(nl.Veth{
		Name: want.Interface, MAC: want.LegMAC, PeerName: "nsm-1", PeerMAC: want.MAC, PeerNetNS: ns, PeerUp: true,
	})
	r.must(err)
	r.configure(ns, peer.Index, want.LegMAC)
	testutil.Echo(r.t, ns, fmt.Sprintf("[::]:%d", port))
	return ns
}

// configure gives a workload's interface what it loses with being up, too.
func (r *replica) configure(ns string, index int, legMAC net.HardwareAddr) {
	r.t.Helper()
	h := testutil.Handle(r.t, ns)
	for _, vip := range []netip.Addr{lbtest.VIP4, lbtest.VIP6} {
		if err := h.AddAddress(index, netip.PrefixFrom(vip, vip.BitLen())); !errors.Is(err, nl.ErrExists) {
			r.must(err)
		}
	}
	for _, gateway := range []netip.Addr{gateway4, gateway6} {
		r.must(h.AddNeighbour(index, gateway, legMAC))
		everything := netip.PrefixFrom(gateway, 0).Masked()
		r.must(h.AddRoute(nl.Route{Index: index, Prefix: everything, Gateway: gateway, OnLink: true}))
	}
}

func (r *replica) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// wantTable waits for stream web's table to have exactly the targets.
func (r *replica) wantTable(targets ...int) {
	r.t.Helper()
	var want []string
	for _, i := range targets {
		want = append(want, target(i).Name)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	err := r.Wait(ctx, func(s balancer.Snapshot) bool {
		return !s.Stream("web").Pending && slices.Equal(s.Stream("web").Targets, want)
	})
	if err != nil {
		r.t.Fatalf("table does not become %v: %+v", want, r.Snapshot())
	}
}

// exchange talks to the VIPs in every way, often enough to meet every target.
func (r *replica) exchange() {
	r.t.Helper()
	for range 20 {
		for _, family := range []string{"4", "6"} {
			testutil.MustExchange(r.t, r.router.NetNS, "tcp"+family, "", lbtest.Remote(family, port))
			testutil.MustExchange(r.t, r.router.NetNS, "udp"+family, "", lbtest.Remote(family, port))
		}
	}
}

// packets returns what a target was sent.
func (r *replica) packets(i int) uint64 {
	r.t.Helper()
	traffic, err := r.plane.TargetTraffic(r.Snapshot().Target(target(i).Name).ID)
	r.must(err)
	return traffic.Packets
}

func TestRealTraffic(t *testing.T) {
	r := newReplica(t)
	var workloads []string
	for i := range 3 {
		if i%2 == 0 { // either side may come first
			workloads = append(workloads, r.connect(i))
		}
		r.must(r.Register(t.Context(), target(i)))
		if i%2 == 1 {
			workloads = append(workloads, r.connect(i))
		}
	}
	r.wantTable(0, 1, 2)
	r.exchange()
	for i := range 3 {
		if r.packets(i) == 0 {
			t.Errorf("target %d got nothing", i)
		}
	}

	// The workload's interface goes down.
	h := testutil.Handle(t, workloads[0])
	nsm := testutil.Link(t, workloads[0], "nsm-1")
	start := time.Now()
	r.must(h.SetDown(nsm.Index))
	r.wantTable(1, 2)
	t.Logf("carrier lost to table without the target: %v", time.Since(start))
	r.exchange()
	r.must(h.SetUp(nsm.Index))
	r.configure(workloads[0], nsm.Index, target(0).LegMAC)
	r.wantTable(0, 1, 2)

	// A leg is removed.
	start = time.Now()
	r.must(testutil.Handle(t, r.netNS).DeleteLink(testutil.Link(t, r.netNS, "leg-1").Index))
	r.wantTable(0, 2)
	t.Logf("leg deleted to table without the target: %v", time.Since(start))
	r.exchange()

	// A target leaves: nothing reaches it after.
	start = time.Now()
	r.must(r.Unregister(t.Context(), "conn-2"))
	t.Logf("unregistered in %v", time.Since(start))
	before := r.packets(0)
	r.exchange()
	if r.packets(0) == before {
		t.Error("the last target got nothing")
	}
	r.wantTable(0)
}

// A target that has left answers what it was sent before, as long as its link
// is there.
func TestAnswersAfterLeaving(t *testing.T) {
	r := newReplica(t)
	workload := r.connect(0)
	r.must(r.Register(t.Context(), target(0)))
	r.wantTable(0)
	buffer := make([]byte, 16)
	var answers []func()
	for _, vip := range []netip.Addr{lbtest.VIP4, lbtest.VIP6} {
		server := testutil.ListenPacket(t, workload, "udp", netip.AddrPortFrom(vip, port+1).String())
		client, err := testutil.Dial(t.Context(), r.router.NetNS, "udp", "", server.LocalAddr().String())
		r.must(err)
		t.Cleanup(func() { _ = client.Close() })
		limit := time.Now().Add(10 * time.Second)
		r.must(errors.Join(client.SetDeadline(limit), server.SetDeadline(limit)))
		_, err = client.Write([]byte("?"))
		r.must(err)
		_, from, err := server.ReadFrom(buffer)
		r.must(err)
		answers = append(answers, func() {
			_, err := server.WriteTo([]byte("!"), from)
			r.must(err)
			if _, err := client.Read(buffer); err != nil {
				t.Errorf("no answer from %s: %v", vip, err)
			}
		})
	}
	r.must(r.Unregister(t.Context(), "conn-0"))
	r.must(r.Wait(t.Context(), func(s balancer.Snapshot) bool { return len(s.Targets) == 0 }))
	for _, answer := range answers {
		answer()
	}
	// The program is not about to be taken away either.
	block, err := testutil.Handle(t, r.netNS).IngressBlock(testutil.Link(t, r.netNS, "leg-0").Index)
	if err != nil || block == 0 {
		t.Errorf("the leg has block %d, %v", block, err)
	}
}

// BenchmarkJoinLeave measures from the link's appearance to the target in force,
// and back out, with other targets in the table.
func BenchmarkJoinLeave(b *testing.B) {
	for _, n := range []int{1, 100, 500, 1000} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			f := newReplica(b)
			config := f.router.Config(1)
			config.Streams[0].MaxTargets = 1000
			f.must(f.SetConfig(b.Context(), config))
			h := testutil.Handle(b, f.netNS)
			ns := testutil.NetNS(b)
			add := func(i int) {
				want := target(i)
				f.must(f.Register(b.Context(), want))
				_, _, err := h.AddVeth(nl.Veth{Name: want.Interface, PeerName: fmt.Sprintf("w%d", i), PeerNetNS: ns, PeerUp: true})
				f.must(err)
			}
			inTable := func(n int) {
				f.must(f.Wait(b.Context(), func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == n }))
			}
			for i := range n - 1 {
				add(i)
			}
			inTable(n - 1)
			var join, leave time.Duration
			for b.Loop() {
				start := time.Now()
				add(n)
				inTable(n)
				join += time.Since(start)
				start = time.Now()
				f.must(f.Unregister(b.Context(), target(n).Connection))
				leave += time.Since(start)
				f.must(h.DeleteLink(testutil.Link(b, f.netNS, target(n).Interface).Index))
			}
			b.ReportMetric(float64(join.Microseconds())/float64(b.N), "µs/join")
			b.ReportMetric(float64(leave.Microseconds())/float64(b.N), "µs/leave")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkStorm measures how long 100 joins at once take, and how long a target
// that leaves in the middle of them has to wait.
func BenchmarkStorm(b *testing.B) {
	f := newReplica(b)
	config := f.router.Config(1)
	config.Streams[0].MaxTargets = 1000
	f.must(f.SetConfig(b.Context(), config))
	h := testutil.Handle(b, f.netNS)
	ns := testutil.NetNS(b)
	add := func(i int) {
		want := target(i)
		f.must(f.Register(b.Context(), want))
		_, _, err := h.AddVeth(nl.Veth{Name: want.Interface, PeerName: fmt.Sprintf("w%d", i), PeerNetNS: ns, PeerUp: true})
		f.must(err)
	}
	inTable := func(n int) {
		f.must(f.Wait(b.Context(), func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == n }))
	}
	var all, leave time.Duration
	for b.Loop() {
		add(0)
		inTable(1)
		for i := 1; i <= 100; i++ {
			_, _, err := h.AddVeth(nl.Veth{Name: target(i).Interface, PeerName: fmt.Sprintf("w%d", i), PeerNetNS: ns, PeerUp: true})
			f.must(err)
		}
		start := time.Now()
		for i := 1; i <= 100; i++ {
			f.must(f.Register(b.Context(), target(i)))
		}
		middle := time.Now()
		f.must(f.Unregister(b.Context(), target(0).Connection))
		leave += time.Since(middle)
		inTable(100)
		all += time.Since(start)
		for i := 1; i <= 100; i++ {
			f.must(f.Unregister(b.Context(), target(i).Connection))
		}
		for i := range 101 {
			f.must(h.DeleteLink(testutil.Link(b, f.netNS, target(i).Interface).Index))
		}
	}
	b.ReportMetric(float64(all.Microseconds())/1000/float64(b.N), "ms/100-joins")
	b.ReportMetric(float64(leave.Microseconds())/1000/float64(b.N), "ms/leave")
	b.ReportMetric(0, "ns/op")
}
