// SPDX-License-Identifier: Apache-2.0

package kernelmech

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

type client struct{}

// NewClient returns the element for the endpoint's side.
func NewClient() networkservice.NetworkServiceClient { return client{} }

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if dial.IsRemote(clienturlctx.ClientURL(ctx)) {
		remove(ctx)
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeContext := postpone.ContextWithValues(ctx)
	mine := request.GetConnection().GetMechanism()
	request = request.Clone()
	request.MechanismPreferences = []*networkservice.Mechanism{{Cls: cls.LOCAL, Type: kernel.MECHANISM, Parameters: map[string]string{}}}
	kept, established := load(ctx)
	request.GetConnection().Mechanism = kept.Clone()

	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if conn.GetMechanism().GetType() == vlan.MECHANISM { // vlanmech has offered it, and knows what to do
		remove(ctx)
		conn = conn.Clone()
		conn.Mechanism = mine
		return conn, nil
	}
	if err := validate(conn.GetMechanism()); err != nil {
		if !established {
			closeCtx, cancel := closeContext()
			defer cancel()
			_, _ = next.Client(closeCtx).Close(closeCtx, conn, opts...)
		}
		return nil, status.Errorf(codes.FailedPrecondition, "answer of endpoint %s: %v", conn.GetNetworkServiceEndpointName(), err)
	}
	store(ctx, conn.GetMechanism().Clone())
	conn = conn.Clone()
	conn.Mechanism = mine
	return conn, nil
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	conn = conn.Clone()
	conn.Mechanism, _ = load(ctx)
	remove(ctx)
	return next.Client(ctx).Close(ctx, conn, opts...)
}
