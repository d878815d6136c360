// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/nsmgr"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	authmonitor "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/netns"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// relayVariable makes the test binary a workload: a process in a namespace of
// its own that does nothing but relay connections to the agent's socket. The
// agent sees it as the caller, and the test talks through it.
const relayVariable = "WEFT_TEST_RELAY"

func TestMain(m *testing.M) {
	if agentSocket, ok := os.LookupEnv(relayVariable); ok {
		relay(agentSocket, os.Args[1])
		return
	}
	log.Setup(io.Discard, log.LevelInfo)
	os.Exit(m.Run())
}

func relay(agentSocket, listenOn string) {
	listener, err := net.Listen("unix", listenOn)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("unix", agentSocket)
		if err != nil {
			_ = from.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			}()
		}
	}
}

// fixture is an nsmgr with a forwarder that plays all endpoints behind it, and
// an agent.
type fixture struct {
	*agent.Component
	t         testing.TB
	mesh      controlPlane
	forwarder *fakeForwarder
	registry  registry.NetworkServiceEndpointRegistryClient
	config    agent.Config
	metrics   *prometheus.Registry
}

// controlPlane is an nsmgr with a registry.
type controlPlane interface {
	URL() *url.URL
	Stop() error
}

// upstream is the SDK's own nsmgr.
type upstream struct{ *mesh.Server }

func (u upstream) URL() *url.URL { return u.URLs()[0] }

func startUpstream(ctx context.Context, t testing.TB) controlPlane {
	t.Helper()
	security := mesh.Plain(time.Minute)
	listenOn := &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "nsmgr.sock")}
	manager := nsmgr.NewServer(ctx, security.TokenGenerator, nsmgr.WithName("nsmgr"),
		nsmgr.WithDialOptions(security.DialOptions...), nsmgr.WithDialTimeout(5*time.Second),
		// The default policies want the signatures of an identity provider.
		nsmgr.WithAuthorizeServer(authorize.NewServer(authorize.Any())),
		nsmgr.WithAuthorizeMonitorConnectionServer(authmonitor.NewMonitorConnectionServer(authmonitor.Any())),
		nsmgr.WithAuthorizeNSRegistryServer(registryauthorize.NewNetworkServiceRegistryServer(registryauthorize.Any())),
		nsmgr.WithAuthorizeNSERegistryServer(registryauthorize.NewNetworkServiceEndpointRegistryServer(registryauthorize.Any())),
	)
	server, err := mesh.Serve(security, []*url.URL{listenOn}, manager.Register)
	if err != nil {
		t.Fatal(err)
	}
	return upstream{server}
}

func startOwn(ctx context.Context, t testing.TB) controlPlane {
	t.Helper()
	own, err := mesh.Start(ctx, mesh.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return own
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOn(t, startOwn)
}

func newFixtureOn(t testing.TB, start func(context.Context, testing.TB) controlPlane) *fixture {
	t.Helper()
	f := &fixture{t: t, forwarder: &fakeForwarder{streams: []string{"web", "dns"}, connections: make(map[string]fakeLeg)}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	f.mesh = start(ctx, t)
	t.Cleanup(func() { check(t, f.mesh.Stop()) })
	security := mesh.Plain(time.Minute)
	chain := endpoint.NewServer(ctx, security.TokenGenerator, endpoint.WithName("forwarder-1"),
		endpoint.WithAdditionalFunctionality(recvfd.NewServer(), f.forwarder))
	server, err := mesh.Serve(security, []*url.URL{{Scheme: "unix", Path: filepath.Join(t.TempDir(), "fwd.sock")}}, chain.Register)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, server.Stop()) })
	services := mesh.NewNSClient(ctx, f.mesh.URL(), security)
	for _, name := range []string{"forwarder", "lb.trench-a", "lb.trench-b", "fw.trench-a"} {
		if _, err := services.Register(ctx, &registry.NetworkService{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	f.registry = mesh.NewNSEClient(ctx, f.mesh.URL(), security)
	f.register("forwarder-1", "forwarder", server.URLs()[0].String())

	dir := t.TempDir()
	f.config = agent.Config{
		Node: "node-1", ConnectTo: f.mesh.URL(),
		Socket: filepath.Join(dir, "agent.sock"), AdminSocket: filepath.Join(dir, "admin.sock"), StateDir: filepath.Join(dir, "state"),
	}
	f.start()
	t.Cleanup(func() {
		f.detachAll()
		check(t, f.Stop())
	})
	return f
}

// detachAll closes what a test leaves, so that what remains afterwards is a
// leak.
func (f *fixture) detachAll() {
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	list, err := admin.List(context.Background(), &agentv1.ListRequest{})
	if err != nil {
		f.t.Error(err)
	}
	for _, a := range list.GetAttachments() {
		_, err := admin.Detach(context.Background(), &agentv1.DetachRequest{Name: a.GetSpec().GetName()})
		if err != nil && status.Code(err) != codes.NotFound { // its workload has just ended
			f.t.Error(err)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func (f *fixture) start() {
	f.t.Helper()
	if f.metrics == nil {
		f.metrics = prometheus.NewRegistry()
	}
	var err error
	if f.Component, err = agent.Start(context.Background(), f.config, agent.Deps{Metrics: f.metrics}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) register(name, service, url string) {
	f.t.Helper()
	if _, err := f.registry.Register(f.t.Context(), &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{service}, Url: url,
	}); err != nil {
		f.t.Fatal(err)
	}
}

// endpoint adds an endpoint that the forwarder plays.
func (f *fixture) endpoint(name, service string) {
	f.t.Helper()
	f.register(name, service, "tcp://127.0.0.1:1") // nobody connects to it
}

func (f *fixture) unregister(name string) {
	f.t.Helper()
	if _, err := f.registry.Unregister(f.t.Context(), &registry.NetworkServiceEndpoint{Name: name}); err != nil {
		f.t.Fatal(err)
	}
}

// dial connects to a unix socket.
func (f *fixture) dial(path string) *grpc.ClientConn {
	f.t.Helper()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// workload is a process in a namespace of its own.
type workload struct {
	*grpc.ClientConn // to the agent, as that process
	path             string
	id               netns.ID
	kill             func()
}

func (f *fixture) workload() workload {
	f.t.Helper()
	listenOn := filepath.Join(f.t.TempDir(), "relay.sock")
	cmd := exec.Command(os.Args[0], listenOn)
	cmd.Env = append(os.Environ(), relayVariable+"="+f.config.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	kill := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	})
	f.t.Cleanup(kill)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		f.t.Fatalf("workload said %q: %v", line, err)
	}
	path := fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
	id, err := netns.Identify(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return workload{ClientConn: f.dial(listenOn), path: path, id: id, kill: kill}
}

// fakeForwarder plays a forwarder and the load balancers behind it.
type fakeForwarder struct {
	mu          sync.Mutex
	streams     []string
	unavailable error // answer of all requests
	full        bool
	connections map[string]fakeLeg
	requests    int
}

type fakeLeg struct {
	endpoint, target, mac, iface string
	streams                      []string
	namespace                    netns.ID
}

func (f *fakeForwarder) set(change func(*fakeForwarder)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// legs returns "<endpoint> <target> <streams>" of each connection, sorted.
func (f *fakeForwarder) legs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, leg := range f.connections {
		out = append(out, fmt.Sprintf("%s %s %v", leg.endpoint, leg.target, leg.streams))
	}
	slices.Sort(out)
	return out
}

func (f *fakeForwarder) all() []fakeLeg {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.connections))
}

func (f *fakeForwarder) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn.GetMechanism() == nil {
		conn.Mechanism = request.GetMechanismPreferences()[0]
	}
	mechanism := kernel.ToMechanism(conn.GetMechanism())
	file, err := url.Parse(mechanism.GetNetNSURL())
	if err != nil {
		return nil, err
	}
	id, err := netns.Identify(file.Path)
	if err != nil {
		return nil, err
	}
	streams, err := extracontext.Streams(conn)
	if err != nil {
		return nil, err
	}
	target, err := extracontext.Target(conn)
	if err != nil {
		return nil, err
	}
	leg := fakeLeg{
		endpoint: conn.GetNetworkServiceEndpointName(), target: target, streams: streams, namespace: id,
		iface: mechanism.GetInterfaceName(), mac: conn.GetContext().GetEthernetContext().GetSrcMac(),
	}
	if err := f.admit(conn.GetId(), leg); err != nil {
		return nil, err
	}
	conn.Context.IpContext = &networkservice.IPContext{
		SrcIpAddrs: []string{"10.1.0.2/32", "20.0.0.1/32"},
		Policies:   []*networkservice.PolicyRoute{{From: "20.0.0.1/32"}},
	}
	return next.Server(ctx).Request(ctx, request)
}

func (f *fakeForwarder) admit(id string, leg fakeLeg) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	_, known := f.connections[id]
	switch {
	case f.unavailable != nil:
		return f.unavailable
	case f.full && !known:
		return status.Error(codes.ResourceExhausted, "streams: max-targets reached")
	}
	for _, stream := range leg.streams {
		if !slices.Contains(f.streams, stream) {
			return status.Errorf(codes.NotFound, "streams: unknown stream %q", stream)
		}
	}
	f.connections[id] = leg
	return nil
}

func (f *fakeForwarder) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	f.mu.Lock()
	delete(f.connections, conn.GetId())
	f.mu.Unlock()
	return next.Server(ctx).Close(ctx, conn)
}

// gauges returns the sums of a registry's gauges over their labels.
func gauges(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	check(t, err)
	sums := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			sums[family.GetName()] += metric.GetGauge().GetValue()
		}
	}
	return sums
}
