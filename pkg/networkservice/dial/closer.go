// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type closer struct {
	pool    *Pool
	missing error
}

// NewCloser returns an element that connects for a Close alone, to the URL of the
// context; without one, the Close ends with missing.
func NewCloser(pool *Pool, missing error) networkservice.NetworkServiceClient {
	return &closer{pool: pool, missing: missing}
}

func (c *closer) Request(context.Context, *networkservice.NetworkServiceRequest, ...grpc.CallOption) (*networkservice.Connection, error) {
	return nil, status.Error(codes.Unimplemented, "this chain only closes")
}

func (c *closer) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	u := clienturlctx.ClientURL(ctx)
	if u == nil {
		return &emptypb.Empty{}, c.missing
	}
	to, err := c.pool.Get(ctx, u)
	if err != nil {
		return nil, err
	}
	defer to.Release()
	clientconn.Store(ctx, to)
	return next.Client(ctx).Close(ctx, conn, opts...)
}
