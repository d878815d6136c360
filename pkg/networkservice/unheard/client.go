// SPDX-License-Identifier: Apache-2.0

package unheard

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type client struct{}

// NewClient returns the element that closes at the next hop what it does not know
// the fate of.
func NewClient() networkservice.NetworkServiceClient { return client{} }

type establishedKey struct{}

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	asked := request.GetConnection().Clone()
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err == nil {
		metadata.Map(ctx, true).Store(establishedKey{}, struct{}{})
		return conn, nil
	}
	if _, established := metadata.Map(ctx, true).Load(establishedKey{}); established || !Unsure(ctx, err) {
		return nil, err
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if _, closeErr := next.Client(closeCtx).Close(closeCtx, asked, opts...); closeErr != nil {
		return nil, status.Errorf(status.Code(err), "%s; close: %v", status.Convert(err).Message(), closeErr)
	}
	return nil, err
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// Unsure reports whether the outcome of a Request that failed with err is not
// known: nobody has decided it, or the decision did not arrive.
func Unsure(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled:
		return true
	default:
		return false
	}
}
