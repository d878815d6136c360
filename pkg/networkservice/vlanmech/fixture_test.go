// SPDX-License-Identifier: Apache-2.0

package vlanmech_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/trunk"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTrunk remembers, and fails on demand.
type fakeTrunk struct {
	events     *[]string
	port       trunk.Port
	connect    error
	disconnect error
}

func (f *fakeTrunk) Connect(_ context.Context, port trunk.Port) error {
	*f.events = append(*f.events, "connect "+port.ID)
	f.port = port
	return f.connect
}

func (f *fakeTrunk) Disconnect(id string) error {
	*f.events = append(*f.events, "disconnect "+id)
	return f.disconnect
}

// fakeEndpoint answers with a mechanism.
type fakeEndpoint struct {
	events  *[]string
	answer  *networkservice.Mechanism // nil: that of the request
	fill    func(*networkservice.Connection)
	request *networkservice.NetworkServiceRequest // the last one
	closing *networkservice.Connection            // the last one
	err     error
	closed  error
}

func (f *fakeEndpoint) Request(_ context.Context, r *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	*f.events = append(*f.events, "request")
	f.request = r.Clone()
	if f.err != nil {
		return nil, f.err
	}
	conn := r.GetConnection().Clone()
	conn.NetworkServiceEndpointName = "vlan-1"
	if f.answer != nil {
		conn.Mechanism = f.answer.Clone()
	}
	if f.fill != nil {
		f.fill(conn)
	}
	return conn, nil
}

func (f *fakeEndpoint) Close(ctx context.Context, conn *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	*f.events = append(*f.events, "close")
	f.closing = conn.Clone()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return &emptypb.Empty{}, f.closed
}

// back restores the client's own mechanism in answers, as the forwarder's elements
// for it do.
type back struct{}

func (back) Request(ctx context.Context, r *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	own := r.GetConnection().GetMechanism()
	conn, err := next.Client(ctx).Request(ctx, r, opts...)
	if err == nil {
		conn = conn.Clone()
		conn.Mechanism = own
	}
	return conn, err
}

func (back) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// fixture is a forwarder's two elements between a client and an endpoint.
type fixture struct {
	events   []string
	trunk    *fakeTrunk
	endpoint *fakeEndpoint
	server   networkservice.NetworkServiceServer
}

func newFixture() *fixture {
	f := &fixture{}
	f.trunk = &fakeTrunk{events: &f.events}
	f.endpoint = &fakeEndpoint{events: &f.events, answer: answer("100", "eth1")}
	f.server = chain.NewNetworkServiceServer(
		metadata.NewServer(),
		vlanmech.NewServer(f.trunk),
		connect.NewServer(chain.NewNetworkServiceClient(
			metadata.NewClient(), back{}, vlanmech.NewClient(vlanmech.Devices{"gw1": "eth7"}), f.endpoint,
		)),
	)
	return f
}

func (f *fixture) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.events); diff != "" {
		t.Errorf("events:\n%s", diff)
	}
	f.events = nil
}

// answer is an endpoint's mechanism; what is empty is left out.
func answer(id, base string) *networkservice.Mechanism {
	m := &networkservice.Mechanism{Cls: cls.REMOTE, Type: vlan.MECHANISM, Parameters: map[string]string{}}
	for key, value := range map[string]string{vlan.ID: id, vlanmech.BaseInterface: base} {
		if value != "" {
			m.Parameters[key] = value
		}
	}
	return m
}

func ask() *networkservice.NetworkServiceRequest {
	m := kernel.ToMechanism(kernel.New("file:///run/netns/frontend"))
	m.SetInterfaceName("ext0")
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a", Mechanism: m.Mechanism}}
}
