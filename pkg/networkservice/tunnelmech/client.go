// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

type client struct{ Config }

// NewClient returns the element for the endpoint's side. Its chain must be behind
// a NewServer with the same configuration.
func NewClient(config Config) networkservice.NetworkServiceClient { return &client{config} }

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if !dial.IsRemote(clienturlctx.ClientURL(ctx)) {
		remove(ctx, true)
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeContext := postpone.ContextWithValues(ctx)
	before := load(ctx, true)
	mine := request.GetConnection().GetMechanism()
	request = request.Clone()
	offers, err := c.offers(ctx, request.GetConnection())
	if err != nil {
		return nil, err
	}
	request.MechanismPreferences = nil
	for _, offer := range offers {
		request.MechanismPreferences = append(request.MechanismPreferences, offer.mechanism())
	}
	request.GetConnection().Mechanism = agreed(before.params, offers)
	lower(request.GetConnection(), c.expected(ctx, before))

	conn, now, err := c.ask(ctx, request, offers, before, opts)
	if err != nil {
		if conn != nil && before.params == nil {
			closeCtx, cancel := closeContext()
			defer cancel()
			_, _ = next.Client(closeCtx).Close(closeCtx, conn, opts...)
		}
		return nil, err
	}
	conn = conn.Clone()
	lower(conn, now.mtu)
	conn.Mechanism = mine
	return conn, nil
}

// ask returns the answer and the way to the endpoint. An answer beside an error
// is to be closed.
func (c *client) ask(ctx context.Context, request *networkservice.NetworkServiceRequest, offers []*params, before state, opts []grpc.CallOption) (*networkservice.Connection, state, error) {
	conn, err := next.Client(ctx).Request(ctx, request.Clone(), opts...)
	if err != nil {
		return nil, state{}, err
	}
	if conn.GetMechanism().GetType() == vlan.MECHANISM { // no tunnel: vlanmech has offered it
		remove(ctx, true)
		return conn, state{}, nil
	}
	mine := request.GetConnection()
	now, err := c.agree(ctx, mine.GetId(), conn, offers)
	if err != nil {
		return conn, state{}, err
	}
	store(ctx, true, now)
	if before.params != nil || now.mtu == 0 || int(conn.GetContext().GetMTU()) <= now.mtu {
		return conn, now, nil
	}
	// Only now it is known which way it goes, and what the other end of the leg
	// has to be told.
	request = request.Clone()
	request.Connection = conn.Clone()
	request.Connection.Id = mine.GetId()
	request.Connection.GetPath().Index = mine.GetPath().GetIndex()
	lower(request.GetConnection(), now.mtu)
	again, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return conn, state{}, err
	}
	if now, err = c.agree(ctx, mine.GetId(), again, offers); err != nil {
		return again, state{}, err
	}
	store(ctx, true, now)
	return again, now, nil
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	// NewServer removes what is kept when the leg is gone.
	if kept := load(ctx, true); kept.params != nil {
		conn = conn.Clone()
		conn.Mechanism = kept.params.mechanism()
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// offers returns what the next forwarder may choose from.
func (c *client) offers(ctx context.Context, conn *networkservice.Connection) ([]*params, error) {
	policy, err := policyOf(ctx, conn, c.Policy)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	var offers []*params
	var problems []error
	for _, kind := range policy.offers() {
		self, err := c.self(kind)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		offers = append(offers, &params{kind: kind, src: self})
	}
	if len(offers) > 0 {
		return offers, nil
	}
	if policy.Required {
		return nil, refuse("the network service %s requires %s: %s", conn.GetNetworkService(), policy.offers()[0], status.Convert(problems[0]).Message())
	}
	return nil, refuse("endpoint %s is on another node: %s", conn.GetNetworkServiceEndpointName(), status.Convert(problems[0]).Message())
}

// agreed returns the mechanism of the standing connection with what this node
// says of itself now, nil when it is not offered any more.
func agreed(before *params, offers []*params) *networkservice.Mechanism {
	if before == nil {
		return nil
	}
	i := slices.IndexFunc(offers, func(o *params) bool { return o.kind == before.kind })
	if i < 0 || i > 0 && before.kind == vxlan.MECHANISM {
		return nil // no longer allowed, or encryption is preferred: try again
	}
	now := *before
	now.src = offers[i].src
	return now.mechanism()
}

// expected returns the MTU to ask for before the answer tells the way; 0 when
// nothing is known. The next nsmgr is most often on the address of the tunnel.
func (c *client) expected(ctx context.Context, before state) int {
	if before.params != nil {
		if before.params.kind != vxlan.MECHANISM {
			return before.mtu
		}
		mtu, err := c.Underlay.MTU(before.params.dst.addr)
		if err != nil {
			return before.mtu
		}
		return mtu
	}
	addr, err := netip.ParseAddr(clienturlctx.ClientURL(ctx).Hostname())
	if err != nil || addr.Is4() != c.Underlay.Local().Is4() || addr == c.Underlay.Local() || addr.IsLoopback() {
		return 0
	}
	mtu, err := c.Underlay.MTU(addr)
	if err != nil {
		return 0
	}
	return mtu
}

// agree checks the answer's mechanism and returns the way to the endpoint.
func (c *client) agree(ctx context.Context, id string, conn *networkservice.Connection, offers []*params) (state, error) {
	wrong := func(err error) (state, error) {
		return state{}, refuse("answer of the other node to %s: %v", conn.GetNetworkServiceEndpointName(), err)
	}
	p, err := parse(conn.GetMechanism())
	if err != nil {
		return wrong(err)
	}
	offered := slices.IndexFunc(offers, func(o *params) bool { return o.kind == p.kind })
	if offered < 0 {
		return wrong(errors.New("mechanism " + p.kind + " was not offered"))
	}
	p.src = offers[offered].src
	if !p.dst.addr.IsValid() {
		return wrong(errors.New("mechanism parameter dst_ip: is missing"))
	}
	if p.vni == 0 {
		return wrong(errors.New("mechanism parameter vni: is missing"))
	}
	w, err := c.path(ctx, id, p.kind, p.src, p.dst)
	if err != nil {
		return state{}, err
	}
	w.tunnel.VNI, w.tunnel.Signals = p.vni, p.dst.weft
	return state{tunnel: &w.tunnel, former: w.former, params: p, mtu: w.mtu}, nil
}
