// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/networkservice/chains/endpoint"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/ipam"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

var errInjected = errors.New("injected")

// fakeBalancer tells of every call.
type fakeBalancer struct {
	mu      sync.Mutex
	targets map[string]balancer.Target
	gone    chan string
}

func (b *fakeBalancer) Register(_ context.Context, t balancer.Target) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets[t.Connection] = t
	return nil
}

func (b *fakeBalancer) Unregister(_ context.Context, connection string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.targets, connection)
	b.gone <- connection
	return nil
}

func (b *fakeBalancer) Config() *balancer.Config {
	vips := []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32")}
	return &balancer.Config{
		Streams: []balancer.Stream{{Name: "web"}},
		Flows:   []balancer.Flow{{Stream: "web", Rule: classify.Rule{Name: "web", VIPs: vips}}},
	}
}

func (b *fakeBalancer) Watch(func([]string)) (stop func()) { return func() {} }

// last fails while err is set.
type last struct{ err error }

func (l *last) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return request.GetConnection(), l.err
}

func (l *last) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, l.err
}

type fixture struct {
	networkservice.NetworkServiceServer
	balancer *fakeBalancer
	last     *last
	pool     *ipam.Pool
}

func start(t *testing.T) *fixture {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	pool, err := ipam.NewPool(netip.MustParsePrefix("172.16.0.0/30")) // room for one
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{balancer: &fakeBalancer{targets: map[string]balancer.Target{}, gone: make(chan string, 10)}, last: &last{}, pool: pool}
	f.NetworkServiceServer = endpoint.NewServer(ctx, endpoint.Config{
		Name: "lb-1",
		TokenGenerator: func(credentials.AuthInfo) (string, time.Time, error) {
			return "token", time.Now().Add(time.Hour), nil
		},
		NetNS: "/run/netns/lb-1", Pool: pool, Balancer: f.balancer, MTU: 1450,
		Additional: []networkservice.NetworkServiceServer{f.last},
	})
	return f
}

// request is what a forwarder sends for the client's connection id.
func request(id string, lifetime time.Duration) *networkservice.NetworkServiceRequest {
	conn := &networkservice.Connection{
		Id: id,
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{
			{Name: "forwarder", Id: id, Token: "token", Expires: timestamppb.New(time.Now().Add(lifetime))},
		}},
	}
	extracontext.SetTarget(conn, "target-"+id)
	extracontext.SetStreams(conn, []string{"web"})
	return &networkservice.NetworkServiceRequest{
		Connection: conn, MechanismPreferences: []*networkservice.Mechanism{{Cls: cls.LOCAL, Type: kernel.MECHANISM}},
	}
}

func TestRequestAndClose(t *testing.T) {
	f := start(t)
	conn, err := f.Request(t.Context(), request("1", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	ip := conn.GetContext().GetIpContext()
	if !slices.Equal(ip.GetSrcIpAddrs(), []string{"172.16.0.2/32", "20.0.0.1/32"}) || !slices.Equal(ip.GetDstIpAddrs(), []string{"172.16.0.1/32"}) {
		t.Errorf("addresses %v", ip)
	}
	mechanism := kernel.ToMechanism(conn.GetMechanism())
	endpointID := conn.GetPath().GetPathSegments()[1].GetId()
	target := f.balancer.targets[endpointID]
	if mechanism.GetNetNSURL() != "file:///run/netns/lb-1" || target.Interface != mechanism.GetInterfaceName() || target.Name != "target-1" {
		t.Errorf("mechanism %v, target %+v", mechanism, target)
	}
	if up, err := extracontext.EndpointBringsUp(conn); err != nil || !up || conn.GetContext().GetMTU() != 1450 {
		t.Errorf("link by endpoint %v, %v, MTU %d", up, err, conn.GetContext().GetMTU())
	}
	if _, err := f.Request(t.Context(), request("2", time.Hour)); err == nil {
		t.Error("the second target got the only address")
	}
	again, err := f.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	if err != nil || !slices.Equal(again.GetContext().GetIpContext().GetSrcIpAddrs(), ip.GetSrcIpAddrs()) {
		t.Errorf("refresh: %v, %v", again, err)
	}
	for range 2 {
		if _, err := f.Close(vacate.With(t.Context(), true), again.Clone()); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-f.balancer.gone; got != endpointID {
		t.Errorf("unregistered %s, want %s", got, endpointID)
	}
	if _, err := f.Request(t.Context(), request("2", time.Hour)); err != nil {
		t.Errorf("the address is not free: %v", err)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	f := start(t)
	f.last.err = errInjected
	if _, err := f.Request(t.Context(), request("1", time.Hour)); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	f.last.err = nil
	bad := request("1", time.Hour)
	bad.MechanismPreferences = nil
	if _, err := f.Request(t.Context(), bad); err == nil {
		t.Error("a Request without mechanism is served")
	}
	bad = request("1", time.Hour)
	bad.Connection.Path.PathSegments[0].Expires = nil
	if _, err := f.Request(t.Context(), bad); err == nil {
		t.Error("a Request without expiration is served")
	}
	if len(f.balancer.targets) != 0 {
		t.Errorf("left: %v", f.balancer.targets)
	}
	if _, err := f.Request(t.Context(), request("2", time.Hour)); err != nil {
		t.Errorf("the address is not free: %v", err)
	}
}

// TestExpiry: a connection that nobody refreshes is closed, once.
func TestExpiry(t *testing.T) {
	f := start(t)
	conn, err := f.Request(t.Context(), request("1", 50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	<-f.balancer.gone
	if _, err := f.Close(t.Context(), conn.Clone()); err != nil {
		t.Error(err)
	}
	// Nobody said that the interface has left the address.
	if _, err := f.Request(t.Context(), request("2", time.Hour)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the address is free: %v", err)
	}
	if _, err := f.Request(t.Context(), request("1", time.Hour)); err != nil {
		t.Errorf("its owner does not get the address: %v", err)
	}
	select {
	case id := <-f.balancer.gone:
		t.Errorf("%s was closed again", id)
	default:
	}
}
