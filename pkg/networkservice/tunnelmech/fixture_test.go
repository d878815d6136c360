// SPDX-License-Identifier: Apache-2.0

package tunnelmech_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/nselabel"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

const (
	service  = "lb.trench-a"
	addressA = "192.0.2.1"
	addressB = "192.0.2.2"
)

// underlay is a node's, with one MTU towards everybody.
type underlay struct {
	device int
	local  string
	mtu    int
}

func (u *underlay) Device() int                 { return u.device }
func (u *underlay) Local() netip.Addr           { return netip.MustParseAddr(u.local) }
func (u *underlay) Port() uint16                { return 4789 }
func (u *underlay) MTU(netip.Addr) (int, error) { return u.mtu, nil }

// vnis gives out VNIs from 100 on.
type vnis struct {
	mu    sync.Mutex
	held  map[string]uint32
	taken map[uint32]bool // by others
	log   []string
}

func (v *vnis) ReserveVNI(id string, _ stitch.Tunnel, want uint32) (uint32, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.held == nil {
		v.held = map[string]uint32{}
	}
	if has, ok := v.held[id]; ok && (want == 0 || want == has) {
		return has, nil
	}
	if v.taken[want] {
		return 0, stitch.ErrTunnelTaken
	}
	if want == 0 {
		want = uint32(100 + len(v.log))
	}
	v.held[id] = want
	v.log = append(v.log, fmt.Sprintf("reserve %d", want))
	return want, nil
}

func (v *vnis) ReleaseVNI(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if vni, ok := v.held[id]; ok {
		v.log = append(v.log, fmt.Sprintf("release %d", vni))
		delete(v.held, id)
	}
}

func (v *vnis) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.held)
}

// encrypted is a node's encryption.
type encrypted struct {
	mu    sync.Mutex
	offer tunnelmech.Offer
	peers map[string]tunnelmech.Peer
	err   error
}

func (e *encrypted) Offer() (tunnelmech.Offer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.offer.PublicKey == "" {
		return e.offer, e.err
	}
	return e.offer, nil
}

func (e *encrypted) Join(_ context.Context, id string, peer tunnelmech.Peer) (tunnelmech.Path, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return tunnelmech.Path{}, e.err
	}
	if e.peers == nil {
		e.peers = map[string]tunnelmech.Peer{}
	}
	e.peers[id] = peer
	return tunnelmech.Path{Device: 77, Local: netip.MustParseAddr("fd00::1"), Remote: netip.MustParseAddr("fd00::2"), MTU: 1350}, nil
}

func (e *encrypted) Leave(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.peers, id)
	return nil
}

func (e *encrypted) only(t *testing.T) tunnelmech.Peer {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.peers) != 1 {
		t.Fatalf("peers: %v", e.peers)
	}
	for _, p := range e.peers {
		return p
	}
	panic("unreachable")
}

// node is a forwarder of the elements under test.
type node struct {
	t      *testing.T
	name   string
	config tunnelmech.Config
	vnis   *vnis
	labels map[string]string // of the endpoint
	next   *url.URL          // nil: the endpoint is here

	mu     sync.Mutex
	sides  []*stitch.Tunnel // client's and endpoint's, of the last Request
	asked  *networkservice.NetworkServiceRequest
	closed []*networkservice.Connection
	fail   error
	mtu    uint32 // of the endpoint's answer

	url  *url.URL
	stop func()
}

func newNode(t *testing.T, name, address string, next *url.URL) *node {
	n := &node{t: t, name: name, vnis: &vnis{}, next: next, mtu: 9000}
	n.config = tunnelmech.Config{Underlay: &underlay{5, address, 1450}, VNIs: n.vnis}
	return n
}

// start serves the node, replacing what was there.
func (n *node) start(elements func(*node) (networkservice.NetworkServiceServer, networkservice.NetworkServiceClient)) {
	n.t.Helper()
	listenOn := "127.0.0.1:0"
	if n.url != nil {
		listenOn = n.url.Host
	}
	listener, err := net.Listen("tcp", listenOn)
	if err != nil {
		n.t.Fatal(err)
	}
	n.url = &url.URL{Scheme: "tcp", Host: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	pool := dial.NewPool(dial.WithDialOptions(grpc.WithTransportCredentials(insecure.NewCredentials())), dial.WithTimeout(10*time.Second))
	tunnels, client := elements(n)
	functions := []networkservice.NetworkServiceServer{kernelmech.NewServer(), &finder{n}, tunnels, &stitcher{n}}
	if n.next != nil {
		functions = append(functions, connect.NewServer(hop.NewClient(n.name, pool, client)))
	}
	server := grpc.NewServer()
	endpoint.NewServer(ctx, tokens, endpoint.WithName(n.name), endpoint.WithAdditionalFunctionality(functions...)).Register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	n.stop = sync.OnceFunc(func() { server.Stop(); <-done; cancel(); pool.Close() })
	n.t.Cleanup(n.stop)
}

func ours(n *node) (networkservice.NetworkServiceServer, networkservice.NetworkServiceClient) {
	return tunnelmech.NewServer(n.config), tunnelmech.NewClient(n.config)
}

func tokens(credentials.AuthInfo) (string, time.Time, error) {
	return "token", time.Now().Add(time.Hour), nil
}

// finder stands for discover: it finds the endpoint with its labels.
type finder struct{ n *node }

func (f *finder) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	client := nselabel.Record(endpoints{f.n})
	stream, err := client.Find(ctx, &registry.NetworkServiceEndpointQuery{})
	if err != nil {
		return nil, err
	}
	registry.ReadNetworkServiceEndpointList(stream)
	if f.n.next != nil {
		ctx = clienturlctx.WithClientURL(ctx, f.n.next)
	}
	return next.Server(ctx).Request(ctx, request)
}

func (f *finder) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if f.n.next != nil {
		ctx = clienturlctx.WithClientURL(ctx, f.n.next)
	}
	return next.Server(ctx).Close(ctx, conn)
}

type endpoints struct{ n *node }

func (e endpoints) Register(context.Context, *registry.NetworkServiceEndpoint, ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	return nil, errors.ErrUnsupported
}

func (e endpoints) Unregister(context.Context, *registry.NetworkServiceEndpoint, ...grpc.CallOption) (*emptypb.Empty, error) {
	return nil, errors.ErrUnsupported
}

func (e endpoints) Find(context.Context, *registry.NetworkServiceEndpointQuery, ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	return &found{nse: &registry.NetworkServiceEndpoint{
		Name: "lb-1", NetworkServiceNames: []string{service},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{service: {Labels: e.n.labels}},
	}}, nil
}

type found struct {
	grpc.ClientStream
	nse *registry.NetworkServiceEndpoint
}

func (f *found) Recv() (*registry.NetworkServiceEndpointResponse, error) {
	if f.nse == nil {
		return nil, errors.New("end")
	}
	r := &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: f.nse}
	f.nse = nil
	return r, nil
}

// stitcher sees what the stitch element would; on the last node it is the
// endpoint as well.
type stitcher struct{ n *node }

func (s *stitcher) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	n := s.n
	n.mu.Lock()
	n.asked = request.Clone()
	fail, mtu := n.fail, n.mtu
	n.mu.Unlock()
	conn := request.GetConnection()
	if n.next != nil {
		var err error
		if conn, err = next.Server(ctx).Request(ctx, request); err != nil {
			return nil, err
		}
	} else if has := conn.GetContext().GetMTU(); has == 0 || has > mtu {
		if conn.Context == nil {
			conn.Context = &networkservice.ConnectionContext{}
		}
		conn.Context.MTU = mtu
	}
	if fail != nil {
		if n.next != nil && n.sides == nil { // as the real one does
			_, _ = next.Server(ctx).Close(ctx, conn)
		}
		return nil, fail
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sides = []*stitch.Tunnel{tunnelmech.ClientTunnel(ctx), tunnelmech.EndpointTunnel(ctx)}
	return conn, nil
}

func (s *stitcher) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.n.mu.Lock()
	s.n.closed = append(s.n.closed, conn.Clone())
	s.n.mu.Unlock()
	return next.Server(ctx).Close(ctx, conn)
}

// workload asks node A.
type workload struct {
	t    *testing.T
	a    *node
	conn *networkservice.Connection
}

func newWorkload(t *testing.T, a *node) *workload {
	return &workload{t: t, a: a, conn: &networkservice.Connection{
		Id: "c-1", NetworkService: service, NetworkServiceEndpointName: "lb-1",
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{
			Name: "agent", Id: "c-1", Expires: timestamppb.New(time.Now().Add(time.Hour)),
		}}},
	}}
}

// call runs with a client of node A.
func (w *workload) call(do func(context.Context, networkservice.NetworkServiceClient) error) error {
	w.t.Helper()
	conn, err := grpc.NewClient(w.a.url.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for range 10 { // a hop may have restarted just now
		if err = do(ctx, networkservice.NewNetworkServiceClient(conn)); status.Code(err) != codes.Unavailable {
			break
		}
	}
	return err
}

func (w *workload) ask() error {
	m := kernel.ToMechanism(kernel.New("file:///run/netns/w"))
	m.SetInterfaceName("nsm-1")
	return w.call(func(ctx context.Context, client networkservice.NetworkServiceClient) error {
		conn, err := client.Request(ctx, &networkservice.NetworkServiceRequest{
			Connection: w.conn.Clone(), MechanismPreferences: []*networkservice.Mechanism{m.Mechanism},
		})
		if err == nil {
			w.conn = conn
			w.conn.Id, w.conn.Path.Index = "c-1", 0
		}
		return err
	})
}

func (w *workload) must() {
	w.t.Helper()
	if err := w.ask(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workload) close() {
	w.t.Helper()
	if err := w.call(func(ctx context.Context, client networkservice.NetworkServiceClient) error {
		_, err := client.Close(ctx, w.conn.Clone())
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}
