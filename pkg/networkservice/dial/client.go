// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

type client struct{ pool *Pool }

// NewClient returns the element that connects to the URL of the context through
// pool, which stays the caller's.
func NewClient(pool *Pool) networkservice.NetworkServiceClient { return &client{pool: pool} }

func (d *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	u := clienturlctx.ClientURL(ctx)
	if u == nil {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeContext := postpone.ContextWithValues(ctx)
	held, had := load(ctx)
	if had && held.url == u.String() {
		// The share is held already; the connection may have broken since.
		if err := held.ready(ctx, d.pool.timeout); err != nil {
			return nil, err
		}
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	fresh, err := d.pool.Get(ctx, u)
	if err != nil {
		return nil, err
	}
	if had {
		// The hop moved: what is left at its old place would stay until it expires.
		closeCtx, cancel := closeContext()
		_, _ = next.Client(closeCtx).Close(closeCtx, request.GetConnection().Clone(), opts...)
		cancel()
		held.Release()
	}
	clientconn.Store(ctx, fresh)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil && !had {
		clientconn.Delete(ctx)
		fresh.Release()
	}
	return conn, err
}

func (d *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	held, ok := load(ctx)
	if !ok {
		if clienturlctx.ClientURL(ctx) != nil {
			// Never connected, or closed before: nothing to close behind it.
			return &emptypb.Empty{}, nil
		}
		return next.Client(ctx).Close(ctx, conn, opts...)
	}
	defer func() {
		clientconn.Delete(ctx)
		held.Release()
	}()
	if err := held.ready(ctx, d.pool.timeout); err != nil {
		// The elements that follow still have to clean up, but not to wait for a
		// peer that is gone.
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, _ = next.Client(gone).Close(gone, conn, opts...)
		return nil, err
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func load(ctx context.Context) (*Conn, bool) {
	cc, _ := clientconn.Load(ctx)
	held, ok := cc.(*Conn)
	return held, ok
}
