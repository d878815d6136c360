// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

const (
	service = "lb.trench-a"
	port    = 5000
)

// node is a host with nsmgr, registry and forwarder, and a router before it.
type node struct {
	t        testing.TB
	dir      string
	router   *lbtest.Router
	mesh     *mesh.Mesh
	client   *client.Client
	security mesh.Security
	metrics  *prometheus.Registry
	replicas []*endpoint.Component
}

var quiet = sync.OnceFunc(func() { slog.SetDefault(log.Setup(testWriter{}, slog.LevelError)) })

type testWriter struct{}

func (testWriter) Write(line []byte) (int, error) { fmt.Print(string(line)); return len(line), nil }

func newNode(t testing.TB) *node {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	quiet()
	testutil.CheckLeaks(t)
	n := &node{t: t, dir: t.TempDir(), router: lbtest.NewRouter(t), security: mesh.Plain(time.Minute), metrics: prometheus.NewRegistry()}
	host := testutil.NetNS(t)
	var err error
	n.mesh, err = mesh.Start(context.Background(), mesh.Config{Dir: n.dir, Security: n.security})
	n.must(err)
	n.cleanup(n.mesh.Stop)
	forward, err := forwarder.Start(context.Background(), forwarder.Config{
		Name: "forwarder-1", ConnectTo: n.mesh.URL(), ListenOn: n.socket("forwarder"), NetNS: host,
	}, forwarder.Deps{Security: n.security})
	n.must(err)
	n.cleanup(forward.Stop)
	n.client, err = client.New(client.Options{Name: "agent-1", ConnectTo: n.mesh.URL(), DialOptions: n.security.DialOptions})
	n.must(err)
	n.cleanup(n.client.Stop)
	return n
}

func (n *node) socket(name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(n.dir, name+".sock")}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) cleanup(stop func() error) {
	n.t.Cleanup(func() {
		if err := stop(); err != nil {
			n.t.Error(err)
		}
	})
}

// addReplica starts the next endpoint; change may change its configuration.
func (n *node) addReplica(change func(*endpoint.Config, *balancer.Config)) *endpoint.Component {
	n.t.Helper()
	i := len(n.replicas) + 1
	config := endpoint.Config{
		Name: fmt.Sprintf("lb-%d", i), ConnectTo: n.mesh.URL(), ListenOn: n.socket(fmt.Sprintf("lb-%d", i)),
		Trench: "trench-a", Conduit: "lb",
		NetNS: n.router.AddReplica(), ExternalInterface: lbtest.External,
		CIDRPrefixes: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd16:%d::/64", i)),
		},
		TableSize: 4099, Drain: 100 * time.Millisecond,
	}
	balance := n.router.Config(i)
	if change != nil {
		change(&config, &balance)
	}
	c, err := endpoint.Start(context.Background(), config, endpoint.Deps{Security: n.security, Metrics: n.metrics, Balance: balance})
	n.must(err)
	n.cleanup(func() error { return c.Stop(context.Background()) })
	n.replicas = append(n.replicas, c)
	return c
}

// workload is a namespace of its own.
type workload struct {
	name, netNS string
	mac         string
}

func (n *node) addWorkload() workload {
	n.t.Helper()
	w := workload{name: testutil.RandomName("w"), netNS: testutil.NetNS(n.t)}
	w.mac = fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", w.name[1], w.name[2], w.name[3], w.name[4])
	return w
}

// serve starts echo servers on the VIPs, which the workload has by now: answers
// of a UDP server leave from the address that it is bound to.
func (n *node) serve(w workload) {
	n.t.Helper()
	for _, family := range []string{"4", "6"} {
		testutil.Echo(n.t, w.netNS, lbtest.Remote(family, port))
	}
}

// connection begins a connection of a workload to replica i (from 1).
func (n *node) connection(w workload, i int) *networkservice.Connection {
	id := fmt.Sprintf("%s-%d", w.name, i)
	mechanism := kernel.ToMechanism(kernel.New((&url.URL{Scheme: "file", Path: w.netNS}).String()))
	mechanism.SetInterfaceName("nsm-1")
	conn := &networkservice.Connection{
		Id: id, NetworkService: service, NetworkServiceEndpointName: fmt.Sprintf("lb-%d", i),
		Path: n.client.Path(id), Mechanism: mechanism.Mechanism,
		Context: &networkservice.ConnectionContext{
			IpContext:       &networkservice.IPContext{},
			EthernetContext: &networkservice.EthernetContext{SrcMac: w.mac},
		},
	}
	extracontext.SetTarget(conn, w.name)
	return conn
}

// request asks for streams and returns the answered connection.
func (n *node) request(conn *networkservice.Connection, streams ...string) (*networkservice.Connection, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 15*time.Second)
	defer cancel()
	conn = conn.Clone()
	extracontext.SetStreams(conn, streams)
	return n.client.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection: conn, MechanismPreferences: []*networkservice.Mechanism{conn.GetMechanism()},
	})
}

// attach connects a workload to replica i and waits for its slots.
func (n *node) attach(w workload, i int, streams ...string) *networkservice.Connection {
	n.t.Helper()
	conn, err := n.request(n.connection(w, i), streams...)
	n.must(err)
	for _, stream := range streams {
		n.wait(i, func(s balancer.Snapshot) bool { return slices.Contains(s.Stream(stream).Targets, w.name) })
	}
	return conn
}

func (n *node) close(conn *networkservice.Connection) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 15*time.Second)
	defer cancel()
	_, err := n.client.Close(ctx, conn)
	n.must(err)
}

// wait waits for the state of replica i (from 1).
func (n *node) wait(i int, cond func(balancer.Snapshot) bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 15*time.Second)
	defer cancel()
	if err := n.replicas[i-1].Balancer().Wait(ctx, cond); err != nil {
		n.t.Fatalf("replica %d stays %+v", i, n.replicas[i-1].Balancer().Snapshot())
	}
}

// exchange talks to the VIPs in every way, often enough to meet every target.
func (n *node) exchange() {
	n.t.Helper()
	for range 20 {
		for _, family := range []string{"4", "6"} {
			testutil.MustExchange(n.t, n.router.NetNS, "tcp"+family, "", lbtest.Remote(family, port))
			testutil.MustExchange(n.t, n.router.NetNS, "udp"+family, "", lbtest.Remote(family, port))
		}
	}
}

// packets returns what replica i sent to the workload.
func (n *node) packets(i int, w workload) uint64 {
	n.t.Helper()
	c := n.replicas[i-1]
	traffic, err := c.DataPlane().TargetTraffic(c.Balancer().Snapshot().Target(w.name).ID)
	n.must(err)
	return traffic.Packets
}
