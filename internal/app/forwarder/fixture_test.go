// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	sdkkernel "github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

const service = "plain.trench-a"

func TestMain(m *testing.M) {
	wireguard.MaybeServe()
	maybeForwarder()
	level := log.LevelWarn
	if name := os.Getenv("WEFT_LOG"); name != "" {
		level, _ = log.ParseLevel(name)
	}
	log.Setup(os.Stderr, level)
	os.Exit(m.Run())
}

// world is a node: nsmgr and registry, forwarder, all real, in one process.
type world struct {
	t          testing.TB
	dir        string
	manager    *url.URL // nsmgr
	mesh       *mesh.Mesh
	passSocket bool   // as upstream does
	outside    string // namespace of the outer ends
	forwarder  *forwarder.Component
	node       node              // among several
	labels     map[string]string // of endpoints
}

// node is what a world has when there are others.
type node struct {
	name     string
	registry *url.URL
	tunnelIP netip.Addr
	pinDir   string
	policy   tunnelmech.Policy
}

func newWorld(t testing.TB) *world {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	w := &world{t: t, dir: t.TempDir(), outside: testutil.NetNS(t)}
	w.startMesh()
	t.Cleanup(func() { w.check(w.mesh.Stop()) }) // a restarted one, too, is the last to end
	w.startForwarder()
	return w
}

func (w *world) startMesh() {
	w.t.Helper()
	config := mesh.Config{Dir: w.dir}
	if w.node.registry != nil {
		config = mesh.Config{
			Name: "nsmgr" + w.node.name, Registry: w.node.registry,
			ListenOn: urls(w.socket("nsmgr"), &url.URL{Scheme: "tcp", Host: "127.0.0.1:0"}),
		}
	}
	m, err := mesh.Start(context.Background(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.manager, w.mesh = m.URL(), m
}

func (w *world) startForwarder() {
	w.t.Helper()
	var err error
	w.forwarder, err = forwarder.Start(context.Background(), forwarder.Config{
		Name: "forwarder-1" + w.node.name, TunnelIP: w.node.tunnelIP, PinDir: w.node.pinDir, KeepOnStop: w.node.pinDir != "",
		Devices: map[string]string{"gw1": "eth0"}, Policy: w.node.policy, WireGuardDir: filepath.Join(w.dir, "wg"), ConnectTo: w.manager, ListenOn: w.socket("forwarder"), NetNS: w.outside, PassSocket: w.passSocket,
	}, forwarder.Deps{})
	if err != nil {
		w.t.Fatal(err)
	}
	component := w.forwarder
	w.t.Cleanup(func() { w.check(component.Stop()) })
}

func urls(u ...*url.URL) []*url.URL { return u }

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) socket(name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(w.dir, name+".sock")}
}

// endpoint starts an NSE made of the SDK's elements alone; it passes its
// namespace as the SDK does.
func (w *world) endpoint(name, prefix string, extra ...networkservice.NetworkServiceServer) (netNS string, server *mesh.Server) {
	w.t.Helper()
	netNS = testutil.NetNS(w.t)
	_, subnet, err := net.ParseCIDR(prefix)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	elements := append([]networkservice.NetworkServiceServer{
		sendfd.NewServer(),
		point2pointipam.NewServer(subnet),
		mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
			kernel.MECHANISM: chain.NewNetworkServiceServer(sdkkernel.NewServer(), inNetNS(netNS)),
		}),
	}, extra...)
	security := mesh.Plain(time.Minute)
	nse := endpoint.NewServer(ctx, security.TokenGenerator, endpoint.WithName(name), endpoint.WithAdditionalFunctionality(elements...))
	server, err = mesh.Serve(security, urls(w.socket(name)), nse.Register)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.check(server.Stop()) })
	w.register(name)
	return netNS, server
}

func (w *world) register(name string) {
	w.t.Helper()
	clients, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	ctx, done := context.WithTimeout(clients, 10*time.Second)
	defer done()
	services := mesh.NewNSClient(clients, w.manager, mesh.Security{})
	if _, err := services.Register(ctx, &registry.NetworkService{Name: service}); err != nil {
		w.t.Fatal(err)
	}
	var options []mesh.RegistryOption
	if w.passSocket {
		options = append(options, mesh.PassSocket())
	}
	registration, err := mesh.Register(ctx, w.manager, mesh.Security{}, &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{service}, Url: w.socket(name).String(),
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{service: {Labels: w.labels}},
	}, options...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		w.check(registration.Unregister(ctx))
	})
}

// inNetNS places an endpoint's interfaces in a namespace of its own.
type inNetNS string

func (n inNetNS) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	kernel.ToMechanism(request.GetConnection().GetMechanism()).SetNetNSURL("file://" + string(n))
	return next.Server(ctx).Request(ctx, request)
}

func (n inNetNS) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

// client returns an NSM client of the SDK.
func (w *world) client(name string, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	security := mesh.Plain(time.Minute)
	return client.NewClient(ctx,
		client.WithName(name),
		client.WithClientURL(w.manager),
		client.WithDialOptions(security.DialOptions...),
		client.WithDialTimeout(5*time.Second),
		client.WithAdditionalFunctionality(elements...),
	)
}

// passing is the SDK's way to pass descriptors of namespaces.
func passing() networkservice.NetworkServiceClient { return sendfd.NewClient() }

func ask(id, netNS, iface string) *networkservice.NetworkServiceRequest {
	mechanism := kernel.ToMechanism(kernel.New("file://" + netNS))
	mechanism.SetInterfaceName(iface)
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: id, NetworkService: service},
		MechanismPreferences: []*networkservice.Mechanism{mechanism.Mechanism},
	}
}

func request(t testing.TB, c networkservice.NetworkServiceClient, r *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) *networkservice.Connection {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	conn, err := c.Request(ctx, r, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func closeConn(t testing.TB, c networkservice.NetworkServiceClient, conn *networkservice.Connection) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if _, err := c.Close(ctx, conn); err != nil {
		t.Fatal(err)
	}
}
