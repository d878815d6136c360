// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

var errInjected = errors.New("injected")

// failing is the next element; it fails while err is set.
type failing struct{ err error }

func (f *failing) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if f.err != nil {
		return nil, f.err
	}
	return next.Server(ctx).Request(ctx, request)
}

func (f *failing) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	_, err := next.Server(ctx).Close(ctx, conn)
	return &emptypb.Empty{}, errors.Join(f.err, err)
}

type fixture struct {
	networkservice.NetworkServiceServer
	pool *Pool
	next *failing
}

func start(t *testing.T) *fixture {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	return newFixture(t)
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{pool: pool(t, "172.16.0.0/24", "fd00::/64"), next: &failing{}}
	f.NetworkServiceServer = chain.NewNetworkServiceServer(metadata.NewServer(), NewServer(f.pool), f.next)
	return f
}

func request(id, target string, src ...string) *networkservice.NetworkServiceRequest {
	conn := &networkservice.Connection{Id: id, Context: &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{SrcIpAddrs: src}}}
	if target != "" {
		extracontext.SetTarget(conn, target)
	}
	return &networkservice.NetworkServiceRequest{Connection: conn}
}

func (f *fixture) request(t *testing.T, r *networkservice.NetworkServiceRequest) *networkservice.Connection {
	t.Helper()
	conn, err := f.Request(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestRequestTwiceCloseTwice(t *testing.T) {
	f := start(t)
	first := f.request(t, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "1"}})
	ip := first.GetContext().GetIpContext()
	if len(ip.GetSrcIpAddrs()) != 2 {
		t.Fatalf("addresses %v", ip.GetSrcIpAddrs())
	}
	want := &networkservice.IPContext{
		SrcIpAddrs: ip.GetSrcIpAddrs(),
		DstIpAddrs: []string{"172.16.0.1/32", "fd00::1/128"},
		SrcRoutes:  []*networkservice.Route{{Prefix: "172.16.0.1/32"}, {Prefix: "fd00::1/128"}},
		DstRoutes:  []*networkservice.Route{{Prefix: ip.GetSrcIpAddrs()[0]}, {Prefix: ip.GetSrcIpAddrs()[1]}},
	}
	if diff := cmp.Diff(want, ip, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	second := f.request(t, &networkservice.NetworkServiceRequest{Connection: first.Clone()})
	if diff := cmp.Diff(first, second, protocmp.Transform()); diff != "" {
		t.Errorf("the second answer differs: %s", diff)
	}
	for range 2 {
		if _, err := f.Close(t.Context(), second); err != nil {
			t.Error(err)
		}
		if f.pool.inUse() != 0 {
			t.Error("addresses remain")
		}
	}
}

func TestFailedRequests(t *testing.T) {
	f := start(t)
	f.next.err = errInjected
	if _, err := f.Request(t.Context(), request("1", "a")); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if f.pool.inUse() != 0 {
		t.Error("a failed first Request keeps addresses")
	}
	f.next.err = nil
	one := f.request(t, request("1", "a", "172.16.0.9"))
	f.next.err = errInjected
	changed := one.Clone()
	changed.Context.IpContext = &networkservice.IPContext{SrcIpAddrs: []string{"172.16.0.10/32"}}
	extracontext.SetTarget(changed, "other")
	if _, err := f.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: changed}); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if got := f.pool.owners["a"]; len(f.pool.owners) != 1 || got[0].String() != "172.16.0.9" {
		t.Errorf("after a failed change: %v", f.pool.owners)
	}
	if _, err := f.Close(t.Context(), one); !errors.Is(err, errInjected) {
		t.Errorf("Close hides the error of the next element: %v", err)
	}
	if f.pool.inUse() != 0 {
		t.Error("a Close whose next fails keeps addresses")
	}
}

// TestFirstRequestsThatFail: the addresses of failed first Requests are not
// given twice (the SDK's point2pointipam does that).
func TestFirstRequestsThatFail(t *testing.T) {
	f := start(t)
	a := f.request(t, request("1", "a"))
	f.next.err = errInjected
	_, _ = f.Request(t.Context(), request("2", "b"))
	f.next.err = nil
	b, c := f.request(t, request("2", "b")), f.request(t, request("3", "c"))
	all := slices.Concat(a.Context.IpContext.SrcIpAddrs, b.Context.IpContext.SrcIpAddrs, c.Context.IpContext.SrcIpAddrs)
	slices.Sort(all)
	if len(slices.Compact(all)) != 6 {
		t.Errorf("addresses given twice: %v", all)
	}
}

func TestConnectionsOfOneTarget(t *testing.T) {
	f := start(t)
	a, b := f.request(t, request("1", "a")), f.request(t, request("2", "a"))
	if !slices.Equal(a.Context.IpContext.SrcIpAddrs, b.Context.IpContext.SrcIpAddrs) {
		t.Errorf("one target has %v and %v", a.Context.IpContext, b.Context.IpContext)
	}
	for i, conn := range []*networkservice.Connection{a, b} {
		if f.pool.inUse() == 0 {
			t.Errorf("free with %d connections left", 2-i)
		}
		if _, err := f.Close(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
	}
	if f.pool.inUse() != 0 {
		t.Error("addresses remain")
	}
}

func TestRestart(t *testing.T) {
	before := start(t)
	before.request(t, request("0", "z"))
	conn := before.request(t, request("1", "a", "172.16.0.77"))
	after := start(t)
	again := after.request(t, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	if !slices.Equal(again.Context.IpContext.SrcIpAddrs, conn.Context.IpContext.SrcIpAddrs) {
		t.Errorf("%v became %v", conn.Context.IpContext, again.Context.IpContext)
	}
	// Somebody was faster.
	after = start(t)
	after.request(t, request("2", "b", "172.16.0.77"))
	again = after.request(t, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	if again.Context.IpContext.SrcIpAddrs[0] == "172.16.0.77/32" {
		t.Error("two targets have 172.16.0.77")
	}
}

func TestErrors(t *testing.T) {
	f := start(t)
	f.request(t, request("1", "a", "172.16.0.9/32"))
	with := func(change func(*networkservice.IPContext)) *networkservice.NetworkServiceRequest {
		r := request("2", "b")
		change(r.Connection.Context.IpContext)
		return r
	}
	for name, test := range map[string]struct {
		request *networkservice.NetworkServiceRequest
		code    codes.Code
		text    string
	}{
		"taken":     {request("2", "b", "172.16.0.9"), codes.AlreadyExists, "src_ip_addrs: address 172.16.0.9 is taken by a"},
		"no source": {request("2", "b", "nonsense"), codes.InvalidArgument, `src_ip_addrs: "nonsense" is neither an address nor a prefix`},
		"no destination": {with(func(ip *networkservice.IPContext) { ip.DstIpAddrs = []string{"1.2.3"} }), codes.InvalidArgument,
			`dst_ip_addrs: "1.2.3" is neither an address nor a prefix`},
		"no prefix": {with(func(ip *networkservice.IPContext) { ip.ExcludedPrefixes = []string{"1.2.3.4"} }), codes.InvalidArgument,
			`excluded_prefixes: "1.2.3.4" is not a prefix`},
		"full": {with(func(ip *networkservice.IPContext) { ip.ExcludedPrefixes = []string{"172.16.0.0/24"} }), codes.ResourceExhausted,
			"no free address in 172.16.0.0/24"},
		"bad target": {request("2", "a b"), codes.InvalidArgument, `extra context weft.dev/target: name "a b" holds the character ' '`},
	} {
		inUse := f.pool.inUse()
		_, err := f.Request(t.Context(), test.request)
		if s := status.Convert(err); s.Code() != test.code || s.Message() != test.text {
			t.Errorf("%s: %v", name, err)
		}
		if f.pool.inUse() != inUse {
			t.Errorf("%s: something remains", name)
		}
	}
}

func TestOtherReplicasAddressesAreIgnored(t *testing.T) {
	f := start(t)
	conn := f.request(t, request("1", "a", "192.168.1.1/32", "20.0.0.1/32"))
	if ip := conn.Context.IpContext; len(ip.SrcIpAddrs) != 2 || slices.Contains(ip.SrcIpAddrs, "192.168.1.1/32") {
		t.Errorf("answer %v", ip)
	}
}
