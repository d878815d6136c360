// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// TestFullPath: workloads attach to two replicas through a real nsmgr and the
// real forwarder, and are reached over TCP and UDP, IPv4 and IPv6.
func TestFullPath(t *testing.T) {
	n := newNode(t)
	n.addReplica(nil)
	n.addReplica(nil)
	var workloads []workload
	var connections []*networkservice.Connection
	for range 3 {
		w := n.addWorkload()
		workloads = append(workloads, w)
		connections = append(connections, n.attach(w, 1, "web"), n.attach(w, 2, "web"))
		n.serve(w)
	}
	n.exchange()
	for _, w := range workloads {
		if n.packets(1, w) == 0 && n.packets(2, w) == 0 {
			t.Errorf("%s got nothing", w.name)
		}
	}
	if _, err := n.metrics.Gather(); err != nil {
		t.Error(err)
	}
	for _, conn := range connections[:4] {
		n.close(conn)
	}
	n.exchange()

	// The namespace of the last one goes down with everything in it.
	h := testutil.Handle(t, workloads[2].netNS)
	start := time.Now()
	if err := h.SetDown(testutil.Link(t, workloads[2].netNS, "nsm-1").Index); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		n.wait(i+1, func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == 0 })
	}
	t.Logf("workload's link down to tables without it: %v", time.Since(start))
	for _, conn := range connections[4:] {
		n.close(conn)
	}
	for i := range 2 {
		n.wait(i+1, func(s balancer.Snapshot) bool { return len(s.Targets) == 0 })
	}
}

// sip adds a second stream with a VIP of its own.
func sip(_ *endpoint.Config, b *balancer.Config) {
	vip := netip.MustParsePrefix("20.0.0.2/32")
	b.VIPs = append(slices.Clone(b.VIPs), vip)
	b.Streams = append(b.Streams, balancer.Stream{Name: "sip", MaxTargets: 1})
	b.Flows = append(b.Flows, balancer.Flow{Stream: "sip", Rule: classify.Rule{Name: "sip", VIPs: []netip.Prefix{vip}}})
}

// refreshes returns a channel that gets a value when the mesh asks the client to
// request the connection again.
func (n *node) refreshes(conn *networkservice.Connection) <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	asked, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		asked <- n.client.Monitor(ctx, conn.GetId())
	}()
	n.t.Cleanup(func() { cancel(); <-done })
	return asked
}

func (n *node) wantRefresh(asked <-chan error) {
	n.t.Helper()
	select {
	case err := <-asked:
		if err == nil || !strings.Contains(err.Error(), client.ErrRefreshRequested.Error()) {
			n.t.Fatalf("monitor: %v", err)
		}
	case <-time.After(10 * time.Second):
		n.t.Fatal("nobody asks for a refresh")
	}
}

// TestChangeInPlace: streams and VIPs come and go on a live connection, and its
// interface stays the same.
func TestChangeInPlace(t *testing.T) {
	n := newNode(t)
	c := n.addReplica(sip)
	w := n.addWorkload()
	conn := n.attach(w, 1, "web")
	iface := testutil.Link(t, w.netNS, "nsm-1")
	addresses := func() []string {
		found, err := testutil.Handle(t, w.netNS).Addresses(testutil.Link(t, w.netNS, "nsm-1").Index)
		n.must(err)
		var all []string
		for _, p := range found {
			all = append(all, p.String())
		}
		return all
	}

	// A second stream: the answer brings the VIP, the refresh the traffic.
	asked := n.refreshes(conn)
	conn, err := n.request(conn, "web", "sip")
	n.must(err)
	n.wantRefresh(asked)
	if got := addresses(); !slices.Contains(got, "20.0.0.2/32") {
		t.Errorf("addresses %v", got)
	}
	conn, err = n.request(conn, "web", "sip")
	n.must(err)
	if got := c.Balancer().Snapshot().Target(w.name).InTable; !slices.Equal(got, []string{"sip", "web"}) {
		t.Errorf("in the tables of %v", got)
	}
	conn, err = n.request(conn, "web")
	n.must(err)
	if got := addresses(); slices.Contains(got, "20.0.0.2/32") {
		t.Errorf("after leaving, addresses %v", got)
	}
	if got := c.Balancer().Snapshot().Target(w.name).InTable; !slices.Equal(got, []string{"web"}) {
		t.Errorf("after leaving, in the tables of %v", got)
	}

	// Another VIP for the stream.
	asked = n.refreshes(conn)
	config := n.router.Config(1)
	more := netip.MustParsePrefix("20.0.0.3/32")
	config.VIPs = append(slices.Clone(config.VIPs), more)
	config.Flows[0].Rule.VIPs = config.VIPs
	n.must(c.SetConfig(t.Context(), config))
	n.wantRefresh(asked)
	conn, err = n.request(conn, "web")
	n.must(err)
	if got := addresses(); !slices.Contains(got, "20.0.0.3/32") {
		t.Errorf("addresses %v", got)
	}
	after := testutil.Link(t, w.netNS, "nsm-1")
	if after.Index != iface.Index || after.MAC.String() != iface.MAC.String() {
		t.Errorf("interface %+v became %+v", iface, after)
	}
	n.close(conn)
}

// TestRefusals: a Request that is refused names the reason and leaves nothing.
func TestRefusals(t *testing.T) {
	n := newNode(t)
	c := n.addReplica(sip)
	w, other := n.addWorkload(), n.addWorkload()
	first := n.attach(w, 1, "sip")
	fixed := func(text string) func(*networkservice.Connection) {
		return func(conn *networkservice.Connection) { conn.Context.IpContext.SrcIpAddrs = []string{text} }
	}
	taken := first.GetContext().GetIpContext().GetSrcIpAddrs()[0]
	for name, test := range map[string]struct {
		stream string
		change func(*networkservice.Connection)
		text   string
	}{
		"unknown stream": {"nope", nil, `code = NotFound desc = streams: unknown stream "nope"`},
		"full stream":    {"sip", nil, `code = ResourceExhausted desc = streams: stream "sip" has its maximum of 1 targets`},
		"taken address":  {"web", fixed(taken), "code = AlreadyExists desc = src_ip_addrs: address " + strings.TrimSuffix(taken, "/32") + " is taken by " + w.name},
		"bad address":    {"web", fixed("1.2.3"), `code = InvalidArgument desc = src_ip_addrs: "1.2.3" is neither`},
		"bad target":     {"web", func(conn *networkservice.Connection) { extracontext.SetTarget(conn, "a b") }, "code = InvalidArgument desc = extra context weft.dev/target"},
	} {
		conn := n.connection(other, 1)
		if test.change != nil {
			test.change(conn)
		}
		if _, err := n.request(conn, test.stream); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %s", name, err, test.text)
		}
		if targets := c.Balancer().Snapshot().Targets; len(targets) != 1 {
			t.Errorf("%s: targets %+v", name, targets)
		}
	}
	// A fixed address that is free.
	conn := n.connection(other, 1)
	fixed("172.16.1.77")(conn)
	conn, err := n.request(conn, "web")
	n.must(err)
	if got := conn.GetContext().GetIpContext().GetSrcIpAddrs()[0]; got != "172.16.1.77/32" {
		t.Errorf("address %s", got)
	}
	n.close(conn)
	n.close(first)
}

// TestStop: a stopping endpoint leaves the registry first, then waits for its
// clients.
func TestStop(t *testing.T) {
	n := newNode(t)
	c := n.addReplica(func(config *endpoint.Config, _ *balancer.Config) { config.Drain = 10 * time.Second })
	w := n.addWorkload()
	conn := n.attach(w, 1, "web")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	endpoints := mesh.NewNSEClient(ctx, n.mesh.URL(), n.security)
	watch, err := endpoints.Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{service}}, Watch: true,
	})
	n.must(err)
	found, err := watch.Recv()
	n.must(err)
	if found.GetNetworkServiceEndpoint().GetName() != "lb-1" || found.GetDeleted() {
		t.Fatalf("registered: %v", found)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.Stop(context.Background()) }()
	for !found.GetDeleted() {
		if found, err = watch.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-stopped:
		t.Fatal("stopped with a client connected")
	default:
	}
	n.close(conn)
	n.must(<-stopped)
	<-c.Done()
	n.must(c.Stop(context.Background()))
}

// TestStopWithClients: the legs of clients that do not leave go down, so that
// their workloads answer by another replica.
func TestStopWithClients(t *testing.T) {
	n := newNode(t)
	var netNS string
	c := n.addReplica(func(config *endpoint.Config, _ *balancer.Config) { netNS = config.NetNS })
	w := n.addWorkload()
	n.attach(w, 1, "web")
	leg := c.Balancer().Snapshot().Target(w.name).Legs[0].Interface
	n.must(c.Stop(t.Context()))
	if link := testutil.Link(t, netNS, leg); link.Up {
		t.Errorf("leg %+v", link)
	}
}

// TestRestart: an endpoint that comes back under its name takes its targets up
// again, with the addresses and interfaces that they had.
func TestRestart(t *testing.T) {
	n := newNode(t)
	var again endpoint.Config
	c := n.addReplica(func(config *endpoint.Config, _ *balancer.Config) { again = *config })
	w, other := n.addWorkload(), n.addWorkload()
	conn := n.attach(w, 1, "web")
	n.attach(other, 1, "web")
	before := c.Balancer().Snapshot().Target(w.name).Legs[0]
	iface := testutil.Link(t, w.netNS, "nsm-1")
	n.must(c.Stop(t.Context()))

	c, err := endpoint.Start(context.Background(), again, endpoint.Deps{Security: n.security, Balance: n.router.Config(1)})
	n.must(err)
	n.cleanup(func() error { return c.Stop(context.Background()) })
	n.replicas[0] = c
	answer, err := n.request(conn, "web")
	n.must(err)
	n.wait(1, func(s balancer.Snapshot) bool { return slices.Equal(s.Stream("web").Targets, []string{w.name}) })
	if got, want := answer.GetContext().GetIpContext().GetSrcIpAddrs(), conn.GetContext().GetIpContext().GetSrcIpAddrs(); !slices.Equal(got, want) {
		t.Errorf("addresses %v became %v", want, got)
	}
	if after := c.Balancer().Snapshot().Target(w.name).Legs[0]; after.Interface != before.Interface || after.IfIndex != before.IfIndex {
		t.Errorf("leg %+v became %+v", before, after)
	}
	if after := testutil.Link(t, w.netNS, "nsm-1"); after.Index != iface.Index {
		t.Errorf("interface %+v became %+v", iface, after)
	}
	n.serve(w)
	n.exchange()
}

func TestIdle(t *testing.T) {
	n := newNode(t)
	c := n.addReplica(func(config *endpoint.Config, _ *balancer.Config) { config.IdleTimeout = 50 * time.Millisecond })
	<-c.Done()
}

func TestContextEnds(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(context.Background())
	c, err := endpoint.Start(ctx, endpoint.Config{
		Name: "lb-1", ConnectTo: n.mesh.URL(), ListenOn: n.socket("lb-1"), ServiceNames: []string{service},
		NetNS: n.router.AddReplica(), ExternalInterface: lbtest.External,
		CIDRPrefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/24")},
	}, endpoint.Deps{})
	n.must(err)
	cancel()
	<-c.Done()
}

func TestStartFails(t *testing.T) {
	n := newNode(t)
	good := endpoint.Config{
		Name: "lb-1", ConnectTo: n.mesh.URL(), ListenOn: n.socket("lb-1"), ServiceNames: []string{service},
		NetNS: n.router.AddReplica(), ExternalInterface: lbtest.External,
		CIDRPrefixes: []netip.Prefix{netip.MustParsePrefix("172.16.0.0/24")},
	}
	for name, change := range map[string]func(*endpoint.Config, *endpoint.Deps){
		"interface": func(c *endpoint.Config, _ *endpoint.Deps) { c.ExternalInterface = "none" },
		"socket":    func(c *endpoint.Config, _ *endpoint.Deps) { c.ListenOn = &url.URL{Scheme: "ftp"} },
		"balance":   func(_ *endpoint.Config, d *endpoint.Deps) { d.Balance.Streams = []balancer.Stream{{}} },
	} {
		config, deps := good, endpoint.Deps{Security: n.security}
		change(&config, &deps)
		if c, err := endpoint.Start(t.Context(), config, deps); err == nil || c != nil || !strings.Contains(err.Error(), "start endpoint lb-1") {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestValidate(t *testing.T) {
	err := endpoint.Config{TableSize: 4, MaxTableSize: 3, Drain: -1, PassSocket: true, ListenOn: &url.URL{Scheme: "tcp"}}.Validate()
	for _, field := range []string{"Name", "ConnectTo", "PassSocket", "ServiceNames", "ExternalInterface", "CIDRPrefixes", "TableSize 4", "MaxTableSize 3", "Drain"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no word about %s: %v", field, err)
		}
	}
}

// BenchmarkAttach measures attach (Request to the target in force) and detach
// through nsmgr and forwarder; p50 and p99 in milliseconds.
func BenchmarkAttach(b *testing.B) {
	n := newNode(b)
	n.addReplica(nil)
	w := n.addWorkload()
	var request, serving, closing []time.Duration
	for b.Loop() {
		start := time.Now()
		conn, err := n.request(n.connection(w, 1), "web")
		n.must(err)
		request = append(request, time.Since(start))
		n.wait(1, func(s balancer.Snapshot) bool { return slices.Contains(s.Stream("web").Targets, w.name) })
		serving = append(serving, time.Since(start))
		start = time.Now()
		n.close(conn)
		closing = append(closing, time.Since(start))
	}
	for name, all := range map[string][]time.Duration{"request": request, "serving": serving, "close": closing} {
		slices.Sort(all)
		for _, p := range []int{50, 99} {
			ms := float64(all[len(all)*p/100].Microseconds()) / 1000
			b.ReportMetric(ms, fmt.Sprintf("ms/%s-p%d", name, p))
		}
	}
	b.ReportMetric(0, "ns/op")
}
