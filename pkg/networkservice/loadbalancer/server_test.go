// SPDX-License-Identifier: Apache-2.0

package loadbalancer_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/monitor"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/loadbalancer"
)

var errInjected = errors.New("injected")

// fakeBalancer has the targets that were registered.
type fakeBalancer struct {
	mu      sync.Mutex
	config  *balancer.Config
	targets map[string]balancer.Target // by connection
	err     error
	during  func() // called by Register
	watcher func([]string)
	calls   []string
}

func (b *fakeBalancer) Register(_ context.Context, t balancer.Target) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "register")
	if b.during != nil {
		b.during()
	}
	if b.err == nil {
		b.targets[t.Connection] = t
	}
	return b.err
}

func (b *fakeBalancer) Unregister(_ context.Context, connection string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "unregister")
	delete(b.targets, connection)
	return nil
}

func (b *fakeBalancer) Config() *balancer.Config { return b.config }

func (b *fakeBalancer) Watch(fn func([]string)) (stop func()) {
	b.watcher = fn
	return func() { b.watcher = nil }
}

// inner stands for the elements behind: it names the interface and assigns
// addresses, fails while err is set, and remembers what it has open.
type inner struct {
	balancer *fakeBalancer
	err      error
	open     map[string]bool

	addresses []string // of the workload, if not one of each family
}

func (i *inner) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if i.err != nil {
		return nil, i.err
	}
	conn := request.GetConnection()
	kernel.ToMechanism(conn.GetMechanism()).SetInterfaceName("leg-1")
	conn.Context.IpContext = &networkservice.IPContext{
		SrcIpAddrs: []string{"172.16.0.9/32", "fd00::9/128"}, DstIpAddrs: []string{"172.16.0.1/32", "fd00::1/128"},
	}
	if i.addresses != nil {
		conn.Context.IpContext.SrcIpAddrs = slices.Clone(i.addresses)
	}
	i.open[conn.GetId()] = true
	return next.Server(ctx).Request(ctx, request)
}

func (i *inner) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	delete(i.open, conn.GetId())
	i.balancer.calls = append(i.balancer.calls, "close")
	_, err := next.Server(ctx).Close(ctx, conn)
	return &emptypb.Empty{}, errors.Join(i.err, err)
}

type fixture struct {
	networkservice.NetworkServiceServer
	t        *testing.T
	balancer *fakeBalancer
	inner    *inner
	events   networkservice.MonitorConnectionClient
}

func vips(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func config(web, sip []netip.Prefix) *balancer.Config {
	return &balancer.Config{
		Streams: []balancer.Stream{{Name: "web"}, {Name: "sip"}},
		Flows: []balancer.Flow{
			{Stream: "web", Rule: classify.Rule{Name: "web", VIPs: web}}, {Stream: "sip", Rule: classify.Rule{Name: "sip", VIPs: sip}},
		},
	}
}

func start(t *testing.T, options ...loadbalancer.Option) *fixture {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b := &fakeBalancer{targets: map[string]balancer.Target{}, config: config(vips("20.0.0.1/32", "2000::1/128"), vips("20.0.0.8/30"))}
	f := &fixture{t: t, balancer: b, inner: &inner{balancer: b, open: map[string]bool{}}}
	var events networkservice.MonitorConnectionServer
	f.NetworkServiceServer = chain.NewNetworkServiceServer(
		begin.NewServer(),
		metadata.NewServer(),
		monitor.NewServer(ctx, &events),
		loadbalancer.NewServer(ctx, "lb-1", b, options...),
		f.inner,
	)
	f.events = adapters.NewMonitorServerToClient(events)
	return f
}

func request(streams ...string) *networkservice.NetworkServiceRequest {
	conn := &networkservice.Connection{
		Id:        "1",
		Mechanism: kernel.New(""),
		Path:      &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "client", Id: "0", Expires: timestamppb.New(time.Now().Add(time.Hour))}, {Name: "lb-1", Id: "1"}}, Index: 1},
		Context:   &networkservice.ConnectionContext{EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:01"}},
	}
	extracontext.SetTarget(conn, "target-1")
	extracontext.SetStreams(conn, streams)
	return &networkservice.NetworkServiceRequest{Connection: conn}
}

// again returns the Request of a client that has got an answer, for streams.
func again(answer *networkservice.Connection, streams ...string) *networkservice.NetworkServiceRequest {
	conn := answer.Clone()
	extracontext.SetStreams(conn, streams)
	return &networkservice.NetworkServiceRequest{Connection: conn}
}

func (f *fixture) request(r *networkservice.NetworkServiceRequest) *networkservice.Connection {
	f.t.Helper()
	conn, err := f.Request(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return conn
}

// monitor returns a function that waits for the next event's state.
func (f *fixture) monitor() func() networkservice.State {
	f.t.Helper()
	stream, err := f.events.MonitorConnections(f.t.Context(), &networkservice.MonitorScopeSelector{})
	if err != nil {
		f.t.Fatal(err)
	}
	return func() networkservice.State {
		f.t.Helper()
		event, err := stream.Recv()
		if err != nil {
			f.t.Fatal(err)
		}
		return event.GetConnections()["1"].GetState()
	}
}

func TestAnswer(t *testing.T) {
	f := start(t, loadbalancer.WithMTU(1400))
	conn := f.request(request("web"))
	target := f.balancer.targets["1"]
	if target.Name != "target-1" || target.Interface != "leg-1" || target.MAC.String() != "02:00:00:00:00:01" ||
		!slices.Equal(target.Streams, []string{"web"}) || len(target.Hold) != 0 {
		t.Errorf("target %+v", target)
	}
	leg := target.LegMAC.String()
	want := &networkservice.ConnectionContext{
		IpContext: &networkservice.IPContext{
			SrcIpAddrs: []string{"172.16.0.9/32", "fd00::9/128", "20.0.0.1/32", "2000::1/128"},
			DstIpAddrs: []string{"172.16.0.1/32", "fd00::1/128"},
			IpNeighbors: []*networkservice.IpNeighbor{
				{Ip: "169.254.87.1", HardwareAddress: "02:57:45:46:54:01"},
				{Ip: "fe80::57:4546:5401", HardwareAddress: "02:57:45:46:54:01"},
				{Ip: "172.16.0.1", HardwareAddress: leg},
				{Ip: "fd00::1", HardwareAddress: leg},
			},
			Policies: []*networkservice.PolicyRoute{
				{From: "20.0.0.1/32", Routes: []*networkservice.Route{{Prefix: "0.0.0.0/0", NextHop: "169.254.87.1"}}},
				{From: "2000::1/128", Routes: []*networkservice.Route{{Prefix: "::/0", NextHop: "fe80::57:4546:5401"}}},
			},
		},
		EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:01", DstMac: leg},
		MTU:             1400,
		ExtraContext:    map[string]string{"weft.dev/streams": "web", "weft.dev/target": "target-1", "weft.dev/link": "endpoint"},
	}
	if diff := cmp.Diff(want, conn.GetContext(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(conn, f.request(again(conn, "web")), protocmp.Transform()); diff != "" {
		t.Errorf("a refresh changes the answer: %s", diff)
	}
	small := request("sip")
	small.Connection.Context.MTU = 1300
	conn = f.request(small)
	if conn.Context.MTU != 1300 {
		t.Errorf("MTU %d", conn.Context.MTU)
	}
	if got := conn.Context.IpContext.SrcIpAddrs[2:]; !slices.Equal(got, []string{"20.0.0.8/32", "20.0.0.9/32", "20.0.0.10/32", "20.0.0.11/32"}) {
		t.Errorf("a range puts %v on the interface", got)
	}
}

// TestRanges: an address of nested ranges is on the interface once, a large range
// brings no address, and every VIP has its policy and a gateway.
func TestRanges(t *testing.T) {
	f := start(t)
	f.balancer.config = config(vips("20.0.0.0/30", "20.0.0.2/32", "20.1.0.0/23", "2000::/64"), vips("20.0.0.2/32", "20.0.0.2/31", "2000::8/126"))
	f.inner.addresses = []string{"172.16.0.9/32"} // no IPv6 address but by VIPs
	ip := f.request(request("web", "sip")).Context.IpContext
	want := []string{
		"172.16.0.9/32", "20.0.0.0/32", "20.0.0.1/32", "20.0.0.2/32", "20.0.0.3/32",
		"2000::8/128", "2000::9/128", "2000::a/128", "2000::b/128",
	}
	if diff := cmp.Diff(want, ip.SrcIpAddrs); diff != "" {
		t.Error(diff)
	}
	var from []string
	for _, p := range ip.Policies {
		from = append(from, p.From)
	}
	want = []string{"20.0.0.0/30", "20.0.0.2/31", "20.0.0.2/32", "20.1.0.0/23", "2000::/64", "2000::8/126"}
	if diff := cmp.Diff(want, from); diff != "" {
		t.Error(diff)
	}
	ip = f.request(request("web")).Context.IpContext
	if !slices.ContainsFunc(ip.IpNeighbors, func(n *networkservice.IpNeighbor) bool { return n.Ip == extracontext.Gateway6.String() }) {
		t.Errorf("no gateway for a large range among %v", ip.IpNeighbors)
	}
}

func TestDefaults(t *testing.T) {
	f := start(t)
	r := request()
	r.Connection.Context = &networkservice.ConnectionContext{}
	r.Connection.Labels = map[string]string{"streams": "sip+web"}
	f.request(r)
	target := f.balancer.targets["1"]
	if target.Name != "client" || !slices.Equal(target.Streams, []string{"sip", "web"}) || len(target.MAC) != 6 || target.MAC[0]&3 != 2 ||
		slices.Equal(target.MAC, target.LegMAC) {
		t.Errorf("target %+v", target)
	}
}

func TestCloseTwice(t *testing.T) {
	f := start(t)
	conn := f.request(request("web"))
	for range 2 {
		if _, err := f.Close(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if len(f.balancer.targets) != 0 || len(f.inner.open) != 0 {
			t.Errorf("left: %v %v", f.balancer.targets, f.inner.open)
		}
	}
	if !slices.Equal(f.balancer.calls, []string{"register", "unregister", "close"}) {
		t.Errorf("order %v", f.balancer.calls)
	}
	conn = f.request(request("web"))
	f.inner.err = errInjected
	if _, err := f.Close(t.Context(), conn); !errors.Is(err, errInjected) || len(f.balancer.targets) != 0 {
		t.Errorf("Close with a failing next: %v, left %v", err, f.balancer.targets)
	}
}

func TestFailures(t *testing.T) {
	f := start(t)
	for name, test := range map[string]struct {
		inner, balancer error
		change          func(*networkservice.Connection)
		code            codes.Code
		text            string
	}{
		"next":        {inner: status.Error(codes.Internal, "next"), code: codes.Internal, text: "next"},
		"unknown":     {balancer: &balancer.UnknownStreamError{Stream: "x"}, code: codes.NotFound, text: `streams: unknown stream "x"`},
		"full":        {balancer: &balancer.MaxTargetsError{Stream: "x", Max: 3}, code: codes.ResourceExhausted, text: `streams: stream "x" has its maximum of 3 targets`},
		"no room":     {balancer: balancer.ErrTooManyTargets, code: codes.ResourceExhausted, text: balancer.ErrTooManyTargets.Error()},
		"interface":   {balancer: balancer.ErrInterfaceTaken, code: codes.AlreadyExists, text: balancer.ErrInterfaceTaken.Error()},
		"closed":      {balancer: balancer.ErrClosed, code: codes.Unavailable, text: balancer.ErrClosed.Error()},
		"token":       {change: func(c *networkservice.Connection) { c.Path.PathSegments[0].Expires = nil }, code: codes.Unauthenticated, text: "path: the previous segment does not expire, the request came without a token"},
		"stream list": {change: func(c *networkservice.Connection) { c.Context.ExtraContext["weft.dev/streams"] = "a,,b" }, code: codes.InvalidArgument, text: `extra context weft.dev/streams "a,,b": a name is empty`},
		"target":      {change: func(c *networkservice.Connection) { c.Context.ExtraContext["weft.dev/target"] = "" }, code: codes.InvalidArgument, text: "extra context weft.dev/target: a name is empty"},
		"weight":      {change: func(c *networkservice.Connection) { c.Context.ExtraContext["weft.dev/weight"] = "-1" }, code: codes.InvalidArgument, text: `extra context weft.dev/weight: weight is out of range: "-1" is not a whole number from 0 to 1000`},
		"drain":       {change: func(c *networkservice.Connection) { c.Labels = map[string]string{"drain": "1"} }, code: codes.InvalidArgument, text: `label drain: "1" is not "true" or "false"`},
		"MAC":         {change: func(c *networkservice.Connection) { c.Context.EthernetContext.SrcMac = "02:00" }, code: codes.InvalidArgument, text: `ethernet_context.src_mac: "02:00" is not a 6-byte address`},
		"group MAC":   {change: func(c *networkservice.Connection) { c.Context.EthernetContext.SrcMac = "01:00:00:00:00:01" }, code: codes.InvalidArgument, text: "ethernet_context.src_mac: 01:00:00:00:00:01 cannot be a workload's"},
		"gateway MAC": {change: func(c *networkservice.Connection) { c.Context.EthernetContext.SrcMac = "02:57:45:46:54:01" }, code: codes.InvalidArgument, text: "ethernet_context.src_mac: 02:57:45:46:54:01 cannot be a workload's"},
	} {
		r := request("web")
		if test.change != nil {
			test.change(r.Connection)
		}
		f.inner.err, f.balancer.err = test.inner, test.balancer
		_, err := f.Request(t.Context(), r)
		if s := status.Convert(err); s.Code() != test.code || s.Message() != test.text {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.inner.open) != 0 || len(f.balancer.targets) != 0 {
			t.Errorf("%s: left %v %v", name, f.inner.open, f.balancer.targets)
		}
	}
	// A later Request that fails leaves the target.
	f.inner.err, f.balancer.err = nil, nil
	conn := f.request(request("web"))
	f.balancer.err = &balancer.UnknownStreamError{Stream: "x"}
	if _, err := f.Request(t.Context(), again(conn, "x")); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	if target := f.balancer.targets["1"]; !slices.Equal(target.Streams, []string{"web"}) || !f.inner.open["1"] {
		t.Errorf("left target %+v", target)
	}
}

// TestJoinLater: a live target that joins a stream is held from it until a
// Request proves that the workload has the VIPs.
func TestJoinLater(t *testing.T) {
	f := start(t)
	conn := f.request(request("web"))
	state := f.monitor()
	if s := state(); s == networkservice.State_REFRESH_REQUESTED {
		t.Error("the first answer asks for a refresh")
	}
	conn = f.request(again(conn, "sip", "web"))
	if conn.GetState() != networkservice.State_UP {
		t.Errorf("answer in state %v", conn.GetState())
	}
	if hold := f.balancer.targets["1"].Hold; !slices.Equal(hold, []string{"sip"}) {
		t.Errorf("held from %v", hold)
	}
	if s := state(); s != networkservice.State_REFRESH_REQUESTED {
		t.Errorf("event in state %v", s)
	}
	conn = f.request(again(conn, "sip", "web"))
	if hold := f.balancer.targets["1"].Hold; len(hold) != 0 {
		t.Errorf("still held from %v", hold)
	}
	if s := state(); s == networkservice.State_REFRESH_REQUESTED {
		t.Error("the refresh asks for another")
	}
	// A client that never proves anything is not asked again and again.
	blind := func() *networkservice.NetworkServiceRequest {
		r := again(conn, "sip", "web")
		r.Connection.Context.IpContext.SrcIpAddrs = nil
		return r
	}
	f.request(blind())
	f.request(blind())
	for range 2 {
		if s := state(); s == networkservice.State_REFRESH_REQUESTED {
			t.Error("a refresh that proves nothing asks for another")
		}
	}
}

func TestChangedVIPs(t *testing.T) {
	f := start(t)
	conn := f.request(request("web"))
	state := f.monitor()
	state()
	f.balancer.watcher([]string{"sip"}) // not ours
	f.balancer.config = config(vips("20.0.0.7/32"), nil)
	f.balancer.watcher([]string{"sip", "web"})
	if s := state(); s != networkservice.State_REFRESH_REQUESTED {
		t.Fatalf("event in state %v", s)
	}
	conn = f.request(again(conn, "web"))
	if got := conn.Context.IpContext.SrcIpAddrs[2:]; !slices.Equal(got, []string{"20.0.0.7/32"}) || len(conn.Context.IpContext.Policies) != 1 {
		t.Errorf("VIPs %v, policies %v", got, conn.Context.IpContext.Policies)
	}
	state()
	// Changed while the answer was made.
	f.balancer.during = func() { f.balancer.config = config(vips("20.0.0.8/32"), nil) }
	f.request(again(conn, "web"))
	if s := state(); s != networkservice.State_REFRESH_REQUESTED {
		t.Errorf("event in state %v", s)
	}
	// A closed connection hears nothing more.
	if _, err := f.Close(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	state()
	f.balancer.watcher([]string{"web"})
	other := request("web")
	other.Connection.Id = "2"
	other.Connection.Path.PathSegments[1].Id = "2"
	f.request(other)
	if s := state(); s != networkservice.State_UP { // zero: the event is not about 1
		t.Errorf("event about the closed connection in state %v", s)
	}
}
