// SPDX-License-Identifier: Apache-2.0

package stitch_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/log"
	node "github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/stitch"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	goleak.VerifyTestMain(m)
}

// events is what happened, in order.
type events []string

// fakeNode is a stitcher that remembers and fails on demand.
type fakeNode struct {
	events *events
	leg    node.Leg
	err    map[string]error
}

func (f *fakeNode) Connect(_ context.Context, leg node.Leg) error {
	*f.events = append(*f.events, "connect "+leg.ID)
	f.leg = leg
	return f.err["connect"]
}

func (f *fakeNode) Withdraw(_ context.Context, id string) error {
	*f.events = append(*f.events, "withdraw "+id)
	return f.err["withdraw"]
}

func (f *fakeNode) DisconnectIn(_ context.Context, id, netNS string) error {
	*f.events = append(*f.events, "disconnect "+id+" in "+netNS)
	return f.err["disconnect"]
}

// fakeEndpoint answers with a context.
type fakeEndpoint struct {
	events *events
	fill   func(*networkservice.Connection)
	err    error
	closed error
}

func (f *fakeEndpoint) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	*f.events = append(*f.events, "request")
	if f.err != nil {
		return nil, f.err
	}
	conn := request.GetConnection().Clone()
	conn.Mechanism = mechanism("leg-1", "file:///run/netns/endpoint")
	if f.fill != nil {
		f.fill(conn)
	}
	return conn, nil
}

func (f *fakeEndpoint) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	*f.events = append(*f.events, "close")
	return &emptypb.Empty{}, f.closed
}

func mechanism(name, url string) *networkservice.Mechanism {
	m := kernel.ToMechanism(kernel.New(url))
	m.SetInterfaceName(name)
	return m.Mechanism
}

type fixture struct {
	events   events
	node     *fakeNode
	endpoint *fakeEndpoint
	server   networkservice.NetworkServiceServer
}

func newFixture() *fixture {
	f := &fixture{}
	f.node = &fakeNode{events: &f.events, err: map[string]error{}}
	f.endpoint = &fakeEndpoint{events: &f.events}
	f.server = chain.NewNetworkServiceServer(
		metadata.NewServer(),
		stitch.NewServer(f.node),
		connect.NewServer(chain.NewNetworkServiceClient(metadata.NewClient(), kernelmech.NewClient(), f.endpoint)),
	)
	return f
}

func (f *fixture) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, []string(f.events)); diff != "" {
		t.Errorf("events:\n%s", diff)
	}
	f.events = nil
}

func ask() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "a", Mechanism: mechanism("nsm-1", "file:///run/netns/workload"),
	}}
}

func TestOrder(t *testing.T) {
	f := newFixture()
	for range 2 {
		if _, err := f.server.Request(t.Context(), ask()); err != nil {
			t.Fatal(err)
		}
		f.want(t, "request", "connect a")
	}
	for range 2 {
		if _, err := f.server.Close(t.Context(), ask().GetConnection()); err != nil {
			t.Fatal(err)
		}
		f.want(t, "withdraw a", "close", "disconnect a in /run/netns/workload")
	}
}

func TestNextFails(t *testing.T) {
	f := newFixture()
	f.endpoint.err = status.Error(codes.ResourceExhausted, "max-targets reached")
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	f.want(t, "request")
}

func TestStitcherFails(t *testing.T) {
	for reason, code := range map[error]codes.Code{
		node.ErrInterfaceTaken:       codes.AlreadyExists,
		node.ErrAddressTaken:         codes.AlreadyExists,
		node.ErrBadInterfaceName:     codes.InvalidArgument,
		node.ErrInvalidLeg:           codes.InvalidArgument,
		node.ErrNoNamespace:          codes.NotFound,
		node.ErrMACConflict:          codes.FailedPrecondition,
		node.ErrTooManyLegs:          codes.ResourceExhausted,
		context.DeadlineExceeded:     codes.DeadlineExceeded,
		context.Canceled:             codes.Canceled,
		errors.New("something else"): codes.Internal,
	} {
		f := newFixture()
		f.node.err["connect"] = fmt.Errorf("client: nsm-1: %w", reason)
		_, err := f.server.Request(t.Context(), ask())
		if status.Code(err) != code || !strings.Contains(err.Error(), "client: nsm-1: "+reason.Error()) {
			t.Errorf("%v becomes %v", reason, err)
		}
		f.want(t, "request", "connect a", "close")
	}
}

func TestFailedUndoIsTold(t *testing.T) {
	f := newFixture()
	f.node.err["connect"] = node.ErrInterfaceTaken
	f.endpoint.closed = errors.New("endpoint is gone")
	_, err := f.server.Request(t.Context(), ask())
	if status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "endpoint is gone") {
		t.Errorf("%v", err)
	}
}

// The undo must not depend on the context that may have made the Request fail.
func TestUndoAfterTheContextEnded(t *testing.T) {
	f := newFixture()
	ctx, cancel := context.WithCancel(t.Context())
	f.endpoint.fill = func(*networkservice.Connection) { cancel() }
	f.node.err["connect"] = context.Canceled
	if _, err := f.server.Request(ctx, ask()); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	f.want(t, "request", "connect a", "close")
}

func TestFailedRefreshKeepsTheConnection(t *testing.T) {
	f := newFixture()
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	f.node.err["connect"] = node.ErrAddressTaken
	if _, err := f.server.Request(t.Context(), ask()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("%v", err)
	}
	f.want(t, "request", "connect a", "request", "connect a")
}

func TestCloseJoinsErrors(t *testing.T) {
	f := newFixture()
	for _, what := range []string{"withdraw", "disconnect"} {
		f.node.err[what] = errors.New(what + " failed")
	}
	f.endpoint.closed = errors.New("close failed")
	_, err := f.server.Close(t.Context(), ask().GetConnection())
	for _, what := range []string{"withdraw failed", "close failed", "disconnect failed"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v misses %q", err, what)
		}
	}
	f.want(t, "withdraw a", "close", "disconnect a in /run/netns/workload")
}

func TestRequestWithoutTokenIsRefused(t *testing.T) {
	f := newFixture()
	request := ask()
	request.Connection.Path = &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Name: "nsmgr"}, {Name: "forwarder"}}}
	_, err := f.server.Request(t.Context(), request)
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "path segment nsmgr: no expiration") {
		t.Errorf("%v", err)
	}
	f.want(t)
	request.Connection.Path.PathSegments[0].Expires = timestamppb.Now()
	if _, err := f.server.Request(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var result []netip.Prefix
	for _, text := range texts {
		result = append(result, netip.MustParsePrefix(text))
	}
	return result
}

func mac(text string) net.HardwareAddr {
	parsed, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func route(prefix, gateway string) node.Route {
	r := node.Route{Prefix: netip.MustParsePrefix(prefix)}
	if gateway != "" {
		r.Gateway = netip.MustParseAddr(gateway)
	}
	return r
}

// A load balancer's answer.
func TestLegOfALoadBalancer(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{
			IpContext: &networkservice.IPContext{
				SrcIpAddrs: []string{"172.16.0.5/32", "fd00::5/128", "20.0.0.1/32", "2000::1/128"},
				DstIpAddrs: []string{"172.16.0.1/32", "fd00::1/128"},
				SrcRoutes:  []*networkservice.Route{{Prefix: "172.16.0.1/32"}, {Prefix: "fd00::1/128"}},
				DstRoutes:  []*networkservice.Route{{Prefix: "172.16.0.5/32"}, {Prefix: "fd00::5/128"}},
				IpNeighbors: []*networkservice.IpNeighbor{
					{Ip: "169.254.87.1", HardwareAddress: "02:57:45:46:54:01"}, {Ip: "172.16.0.1", HardwareAddress: "02:00:00:00:00:0b"},
				},
				Policies: []*networkservice.PolicyRoute{
					{From: "20.0.0.1/32", Routes: []*networkservice.Route{{Prefix: "0.0.0.0/0", NextHop: "169.254.87.1"}}},
					{From: "2000::1", Routes: []*networkservice.Route{{Prefix: "::/0", NextHop: "fe80::57:4546:5401"}}},
				},
			},
			EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:0a", DstMac: "02:00:00:00:00:0b"},
			MTU:             1400,
		}
		extracontext.SetEndpointBringsUp(conn)
	}
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	want := node.Leg{
		ID: "a", EndpointBringsUp: true, Local: true,
		Client: node.Side{
			NetNS: "/run/netns/workload", Interface: "nsm-1", MAC: mac("02:00:00:00:00:0a"), MTU: 1400,
			Addresses: prefixes("172.16.0.5/32", "fd00::5/128", "20.0.0.1/32", "2000::1/128"),
			Routes:    []node.Route{route("172.16.0.1/32", ""), route("fd00::1/128", "")},
			Neighbours: []node.Neighbour{
				{IP: netip.MustParseAddr("169.254.87.1"), MAC: mac("02:57:45:46:54:01")},
				{IP: netip.MustParseAddr("172.16.0.1"), MAC: mac("02:00:00:00:00:0b")},
			},
			Policies: []node.Policy{
				{From: netip.MustParsePrefix("20.0.0.1/32"), Routes: []node.Route{route("0.0.0.0/0", "169.254.87.1")}},
				{From: netip.MustParsePrefix("2000::1/128"), Routes: []node.Route{route("::/0", "fe80::57:4546:5401")}},
			},
		},
		Endpoint: node.Side{
			NetNS: "/run/netns/endpoint", Interface: "leg-1", MAC: mac("02:00:00:00:00:0b"), MTU: 1400,
			Addresses: prefixes("172.16.0.1/32", "fd00::1/128"),
			// Not to the VIPs: those belong to many targets.
			Routes: []node.Route{route("172.16.0.5/32", ""), route("fd00::5/128", "")},
		},
	}
	wantLeg(t, want, f.node.leg)
}

func wantLeg(t *testing.T, want, got node.Leg) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

// The answer of an endpoint made of the SDK's elements, with a subnet and a
// network behind it.
func TestLegOfAnUpstreamEndpoint(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{
			SrcIpAddrs: []string{"10.0.0.2/24", "10.0.0.2/24"},
			DstIpAddrs: []string{"10.0.0.1/24", "192.168.9.1/32"},
			SrcRoutes:  []*networkservice.Route{{Prefix: "10.99.1.7/16"}, {Prefix: "10.98.0.0/16", NextHop: "10.0.0.9"}},
			DstRoutes:  []*networkservice.Route{{Prefix: "10.50.0.0/16"}},
		}}
	}
	ctx := clienturlctx.WithClientURL(t.Context(), &url.URL{Scheme: "tcp", Host: "192.0.2.1:5001"})
	if _, err := f.server.Request(ctx, ask()); err != nil {
		t.Fatal(err)
	}
	want := node.Leg{
		ID: "a",
		Client: node.Side{
			NetNS: "/run/netns/workload", Interface: "nsm-1", Addresses: prefixes("10.0.0.2/24"),
			Routes: []node.Route{route("192.168.9.1/32", ""), route("10.99.0.0/16", "10.0.0.1"), route("10.98.0.0/16", "10.0.0.9")},
		},
		Endpoint: node.Side{
			NetNS: "/run/netns/endpoint", Interface: "leg-1", Addresses: prefixes("10.0.0.1/24", "192.168.9.1/32"),
			Routes: []node.Route{route("10.50.0.0/16", "10.0.0.2")},
		},
	}
	wantLeg(t, want, f.node.leg)
}

func TestMalformedAnswerNamesEveryField(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{
			IpContext: &networkservice.IPContext{
				SrcIpAddrs:  []string{"10.0.0.2/33"},
				DstIpAddrs:  []string{"10.0.0.1/24", "x"},
				SrcRoutes:   []*networkservice.Route{{Prefix: "y"}},
				DstRoutes:   []*networkservice.Route{{Prefix: "10.0.0.0/8", NextHop: "z"}},
				IpNeighbors: []*networkservice.IpNeighbor{{Ip: "n"}, {Ip: "10.0.0.3", HardwareAddress: "02:00"}},
				Policies: []*networkservice.PolicyRoute{
					{From: "f"}, {From: "10.0.0.2", Proto: "6"}, {From: "10.0.0.2", Routes: []*networkservice.Route{{Prefix: "p"}}},
				},
			},
			EthernetContext: &networkservice.EthernetContext{SrcMac: "s", DstMac: "02:00:00:00:00:00:00:01"},
			ExtraContext:    map[string]string{extracontext.LinkKey: "forwarder"},
		}
	}
	request := ask()
	request.Connection.Mechanism.Parameters[kernel.NetNSURL] = "inode://1/2"
	_, err := f.server.Request(t.Context(), request)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("code of %v", err)
	}
	for _, want := range []string{
		`ip_context.src_ip_addrs[0] "10.0.0.2/33"`, `ip_context.dst_ip_addrs[1] "x"`, `ip_context.src_routes[0].prefix "y"`,
		`ip_context.dst_routes[0].nextHop "z"`, `ip_context.ip_neighbors[0].ip "n"`, `ip_context.ip_neighbors[1].hardware_address "02:00"`,
		`ip_context.policies[0].from "f"`, `ip_context.policies[1]: policies by protocol or port`, `ip_context.policies[2].routes[0].prefix "p"`,
		`ethernet_context.src_mac "s"`, `ethernet_context.dst_mac "02:00:00:00:00:00:00:01"`,
		`extra context weft.dev/link: "forwarder"`, `client's mechanism parameter inodeURL: "inode://1/2": no descriptor came with the request`,
	} {
		if !strings.Contains(status.Convert(err).Message(), want) {
			t.Errorf("missing %s in:\n%v", want, err)
		}
	}
	f.want(t, "request", "close")
}
