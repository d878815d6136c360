// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

const underlayMTU = 1450

// newPair returns two nodes: their control planes meet over loopback, their
// tunnels over a link between their namespaces.
func newPair(t testing.TB, change ...func(a, b *world)) (a, b *world) {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	shared, err := mesh.StartRegistry(context.Background(), mesh.RegistryConfig{ListenOn: urls(&url.URL{Scheme: "tcp", Host: "127.0.0.1:0"})})
	if err != nil {
		t.Fatal(err)
	}
	a = &world{t: t, dir: t.TempDir(), outside: testutil.NetNS(t), node: node{name: "a", tunnelIP: netip.MustParseAddr("198.51.100.1")}}
	b = &world{t: t, dir: t.TempDir(), outside: testutil.NetNS(t), node: node{name: "b", tunnelIP: netip.MustParseAddr("198.51.100.2")}}
	for _, f := range change {
		f(a, b)
	}
	h := testutil.Handle(t, a.outside)
	if _, _, err := h.AddVeth(nl.Veth{Name: "under0", MTU: underlayMTU, PeerName: "under0", PeerNetNS: b.outside, PeerUp: true}); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*world{a, b} {
		h, link := testutil.Handle(t, w.outside), testutil.Link(t, w.outside, "under0")
		if err := h.AddAddress(link.Index, netip.PrefixFrom(w.node.tunnelIP, 24)); err != nil {
			t.Fatal(err)
		}
		if err := h.SetUp(link.Index); err != nil {
			t.Fatal(err)
		}
		w.node.registry = shared.URLs()[0]
		w.startMesh()
		t.Cleanup(func() { w.check(w.mesh.Stop()) })
		w.startForwarder()
	}
	t.Cleanup(func() { a.check(shared.Stop()) })
	return a, b
}

// found waits until a node knows of the other's endpoint: a client's request ends
// well.
func found(t testing.TB, c networkservice.NetworkServiceClient, r *networkservice.NetworkServiceRequest) (conn *networkservice.Connection) {
	t.Helper()
	var err error
	defer func() {
		if conn == nil {
			t.Logf("the last error: %v", err)
		}
	}()
	testutil.Eventually(t, 30*time.Second, "a connection", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		conn, err = c.Request(ctx, r.Clone())
		return err == nil
	})
	return conn
}

func exchange(t testing.TB, conn *networkservice.Connection, workload, endpoint string) {
	t.Helper()
	_, dst := addresses(t, conn)
	testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, endpoint, dst+":0"))
}

func TestRemoteEndpoint(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := newPair(t)
	before := append(links(t, a.outside), links(t, b.outside)...)
	endpointNS, _ := b.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := a.client("nsc")
	conn := found(t, c, ask("a", workload, "nsm-1"))
	exchange(t, conn, workload, endpointNS)
	if got := conn.GetContext().GetMTU(); got != underlayMTU-50 {
		t.Errorf("MTU %d in the connection", got)
	}
	if got := testutil.Link(t, workload, "nsm-1").MTU; got != underlayMTU-50 {
		t.Errorf("MTU %d of the workload's interface", got)
	}
	closeConn(t, c, conn)
	if after := append(links(t, a.outside), links(t, b.outside)...); len(after) != len(before) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// Kill of an endpoint's process reaches the client through both nodes.
func TestDeathOfARemoteEndpointReachesTheClient(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := newPair(t)
	_, server := b.endpoint("nse-1", "10.9.0.0/24")
	found(t, a.client("nsc"), ask("a", testutil.NetNS(t), "nsm-1"))
	cc, err := mesh.Dial(a.manager, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	events, err := networkservice.NewMonitorConnectionClient(cc).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for down := false; !down; {
		event, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, changed := range event.GetConnections() {
			down = down || changed.GetState() == networkservice.State_DOWN
		}
	}
	t.Logf("the client knew after %s", time.Since(killed))
	testutil.Eventually(t, 15*time.Second, "the endpoint's node to withdraw the leg", func() bool {
		ports, err := b.forwarder.Stitcher().Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			for _, leg := range p.Legs {
				if leg.Active {
					return false
				}
			}
		}
		return true
	})
}

// What every component on the way has forgotten is closed all the same.
func TestCloseAfterEverythingRestarted(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := newPair(t, func(a, b *world) {
		a.node.pinDir, b.node.pinDir = testutil.PinDir(t), testutil.PinDir(t)
	})
	endpointNS, _ := b.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := a.client("nsc")
	conn := found(t, c, ask("a", workload, "nsm-1"))
	for _, w := range []*world{a, b} {
		if err := w.forwarder.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := w.mesh.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if got := append(links(t, workload), links(t, endpointNS)...); len(got) < 4 { // with lo
		t.Fatalf("without forwarders: %v", got)
	}
	for _, w := range []*world{a, b} {
		w.startMesh()
		w.startForwarder()
	}
	testutil.Eventually(t, 60*time.Second, "the endpoint to be known again", func() bool {
		return knows(t, a, "nse-1")
	})
	cc, err := mesh.Dial(a.manager, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	// A client tries again while the registry still has the other node's address
	// of before.
	testutil.Eventually(t, 60*time.Second, "the close to succeed", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_, err := networkservice.NewNetworkServiceClient(cc).Close(ctx, conn.Clone())
		return err == nil
	})
	for _, ns := range []string{workload, endpointNS} {
		if got := links(t, ns); len(got) != 1 {
			t.Errorf("after close: %v", got)
		}
	}
	for _, w := range []*world{a, b} {
		w.forwarder.Stitcher().Close(false)
	}
}

func TestEncryptedRemoteEndpoint(t *testing.T) {
	testutil.CheckLeaks(t)
	a, b := newPair(t)
	a.labels = tunnelmech.Labels("wireguard", "required")
	b.labels = a.labels
	endpointNS, _ := b.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := a.client("nsc")
	conn := found(t, c, ask("a", workload, "nsm-1"))
	exchange(t, conn, workload, endpointNS)
	closeConn(t, c, conn)
}

// knows reports whether a node's nsmgr knows an endpoint.
func knows(t testing.TB, w *world, name string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	cc, err := mesh.Dial(w.manager, mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	stream, err := registry.NewNetworkServiceEndpointRegistryClient(cc).Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name},
	})
	return err == nil && len(registry.ReadNetworkServiceEndpointList(stream)) > 0
}
