// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/dial"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// hop is a server that counts.
type hop struct {
	networkservice.UnimplementedNetworkServiceServer
	t         *testing.T
	url       *url.URL
	accepted  atomic.Int32
	requests  atomic.Int32
	closes    atomic.Int32
	stop      func()
	refuse    atomic.Bool
	closeCode codes.Code
}

type countingListener struct {
	net.Listener
	accepted *atomic.Int32
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

func newHop(t *testing.T, u *url.URL) *hop {
	t.Helper()
	h := &hop{t: t, url: u}
	if u == nil {
		h.url = &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "h.sock")}
	}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *hop) start() {
	h.t.Helper()
	network, address := "unix", h.url.Path
	if h.url.Scheme == "tcp" {
		network, address = "tcp", h.url.Host
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		h.t.Fatal(err)
	}
	if h.url.Scheme == "tcp" {
		h.url.Host = listener.Addr().String()
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	networkservice.RegisterNetworkServiceServer(server, h)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(countingListener{listener, &h.accepted}) }()
	h.stop = sync.OnceFunc(func() { server.Stop(); <-done })
}

func (h *hop) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	h.requests.Add(1)
	if h.refuse.Load() {
		return nil, status.Error(codes.ResourceExhausted, "full")
	}
	return request.GetConnection(), nil
}

func (h *hop) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	h.closes.Add(1)
	return &emptypb.Empty{}, status.Error(h.closeCode, "close")
}

func (h *hop) want(accepted, requests, closes int32) {
	h.t.Helper()
	if h.accepted.Load() != accepted || h.requests.Load() != requests || h.closes.Load() != closes {
		h.t.Errorf("%d connections, %d requests, %d closes; want %d, %d, %d",
			h.accepted.Load(), h.requests.Load(), h.closes.Load(), accepted, requests, closes)
	}
}

func newPool(t *testing.T, options ...dial.Option) *dial.Pool {
	t.Helper()
	options = append([]dial.Option{dial.WithDialOptions(
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
	), dial.WithTimeout(5 * time.Second)}, options...)
	pool := dial.NewPool(options...)
	t.Cleanup(pool.Close)
	return pool
}

// after counts how often the element behind dial runs.
type after struct{ requests, closes int }

func (a *after) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	a.requests++
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (a *after) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	a.closes++
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func clientOf(pool *dial.Pool, elements ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	all := append([]networkservice.NetworkServiceClient{metadata.NewClient(), dial.NewClient(pool)}, elements...)
	return chain.NewNetworkServiceClient(append(all, connect.NewClient())...)
}

func to(t *testing.T, h *hop) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return clienturlctx.WithClientURL(ctx, h.url)
}

func ask(id string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}}
}

func TestConnectionIsShared(t *testing.T) {
	h := newHop(t, nil)
	client := clientOf(newPool(t))
	var group sync.WaitGroup
	for _, id := range strings.Split("abcdefgh", "") {
		group.Go(func() {
			for range 3 { // Request and refreshes
				if _, err := client.Request(to(t, h), ask(id)); err != nil {
					t.Error(err)
				}
			}
			if _, err := client.Close(to(t, h), ask(id).GetConnection()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	h.want(1, 24, 8)
}

func TestCloseTwice(t *testing.T) {
	h := newHop(t, nil)
	client := clientOf(newPool(t))
	if _, err := client.Request(to(t, h), ask("a")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.Close(to(t, h), ask("a").GetConnection()); err != nil {
			t.Fatal(err)
		}
	}
	h.want(1, 1, 1)
}

func TestOverTCP(t *testing.T) {
	h := newHop(t, &url.URL{Scheme: "tcp", Host: "127.0.0.1:0"})
	if _, err := clientOf(newPool(t)).Request(to(t, h), ask("a")); err != nil {
		t.Fatal(err)
	}
	h.want(1, 1, 0)
}

func TestIdleConnectionIsClosed(t *testing.T) {
	h := newHop(t, nil)
	pool := newPool(t, dial.WithIdleTimeout(time.Millisecond))
	first, err := pool.Get(t.Context(), h.url)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pool.Get(t.Context(), h.url)
	if err != nil || second != first {
		t.Fatalf("another connection, %v", err)
	}
	first.Release()
	if first.GetState() != connectivity.Ready {
		t.Fatal("closed while in use")
	}
	second.Release()
	for state := first.GetState(); state != connectivity.Shutdown; state = first.GetState() {
		if !first.WaitForStateChange(to(t, h), state) {
			t.Fatal("stays open")
		}
	}
	third, err := pool.Get(t.Context(), h.url)
	if err != nil || third == first {
		t.Fatalf("the closed connection again, %v", err)
	}
	third.Release()
	h.want(2, 0, 0)
}

func TestRestartedPeerIsRedialled(t *testing.T) {
	h := newHop(t, nil)
	client := clientOf(newPool(t))
	if _, err := client.Request(to(t, h), ask("a")); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if _, err := client.Request(to(t, h), ask("a")); status.Code(err) != codes.Unavailable {
		t.Fatalf("without peer: %v", err)
	}
	h.start()
	for _, id := range []string{"a", "b"} {
		if _, err := client.Request(to(t, h), ask(id)); err != nil {
			t.Fatal(err)
		}
	}
	h.want(2, 3, 0)
}

func TestPeerThatIsNotThere(t *testing.T) {
	h := newHop(t, nil)
	h.stop()
	behind := &after{}
	client := clientOf(newPool(t, dial.WithTimeout(time.Hour)), behind)
	for range 3 { // each is told at once, not only the first
		_, err := client.Request(to(t, h), ask("a"))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connect to "+h.url.String()+": dial unix") {
			t.Errorf("%v", err)
		}
	}
	h.start()
	if _, err := client.Request(to(t, h), ask("a")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if behind.requests != 1 {
		t.Errorf("the next element ran %d times", behind.requests)
	}
}

func TestPeerThatDoesNotAnswer(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "mute.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	pool := newPool(t, dial.WithTimeout(20*time.Millisecond))
	_, err = pool.Get(t.Context(), &url.URL{Scheme: "unix", Path: listener.Addr().String()})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestNextFails(t *testing.T) {
	h := newHop(t, nil)
	h.refuse.Store(true)
	pool := newPool(t, dial.WithIdleTimeout(time.Millisecond))
	client := clientOf(pool)
	if _, err := client.Request(to(t, h), ask("a")); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("%v", err)
	}
	// The failed Request gave its share back: the connection goes idle.
	for h.accepted.Load() < 2 {
		c, err := pool.Get(to(t, h), h.url)
		if err != nil {
			t.Fatal(err)
		}
		c.Release()
	}
	// A failed refresh keeps it.
	h.refuse.Store(false)
	if _, err := client.Request(to(t, h), ask("a")); err != nil {
		t.Fatal(err)
	}
	h.refuse.Store(true)
	if _, err := client.Request(to(t, h), ask("a")); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("%v", err)
	}
	h.refuse.Store(false)
	if _, err := client.Close(to(t, h), ask("a").GetConnection()); err != nil {
		t.Fatal(err)
	}
	if h.closes.Load() != 1 {
		t.Errorf("%d closes after a failed refresh", h.closes.Load())
	}
}

func TestMovedPeerIsClosedAtTheOldPlace(t *testing.T) {
	old, fresh := newHop(t, nil), newHop(t, nil)
	client := clientOf(newPool(t))
	if _, err := client.Request(to(t, old), ask("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Request(to(t, fresh), ask("a")); err != nil {
		t.Fatal(err)
	}
	old.want(1, 1, 1)
	fresh.want(1, 1, 0)
	if _, err := client.Close(to(t, fresh), ask("a").GetConnection()); err != nil {
		t.Fatal(err)
	}
	old.want(1, 1, 1)
	fresh.want(1, 1, 1)
}

func TestCloseWithoutPeerCleansUp(t *testing.T) {
	h := newHop(t, nil)
	behind := &after{}
	client := clientOf(newPool(t), behind)
	if _, err := client.Request(to(t, h), ask("a")); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if _, err := client.Close(to(t, h), ask("a").GetConnection()); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
	if behind.closes != 1 {
		t.Errorf("the next element closed %d times", behind.closes)
	}
}

func TestWithoutURLNothingIsDialled(t *testing.T) {
	client := chain.NewNetworkServiceClient(metadata.NewClient(), dial.NewClient(newPool(t)), &store{t})
	if _, err := client.Request(t.Context(), ask("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Close(t.Context(), ask("a").GetConnection()); err != nil {
		t.Fatal(err)
	}
}

// store is an end that wants no connection in the metadata.
type store struct{ t *testing.T }

func (s *store) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	if cc, ok := clientconn.Load(ctx); ok {
		s.t.Errorf("connection %v without a URL", cc)
	}
	return request.GetConnection(), nil
}

func (s *store) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}
