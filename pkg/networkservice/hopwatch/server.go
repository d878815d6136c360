// SPDX-License-Identifier: Apache-2.0

package hopwatch

import (
	"context"
	"net/url"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

// pause between looks at an endpoint that has not come back yet.
const pause = 100 * time.Millisecond

type server struct {
	ctx   context.Context
	ended func(ctx context.Context, id string)
	grace func(ctx context.Context, conn *networkservice.Connection) time.Duration
}

// NewServer returns the element, which works until ctx ends. ended is called with
// the connection's id; grace tells how long its endpoint may be away.
func NewServer(ctx context.Context, ended func(ctx context.Context, id string), grace func(context.Context, *networkservice.Connection) time.Duration) networkservice.NetworkServiceServer {
	return &server{ctx: ctx, ended: ended, grace: grace}
}

type key struct{}

type watch struct {
	conn   *dial.Conn
	cancel context.CancelFunc
	over   <-chan struct{}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	u := clienturlctx.ClientURL(ctx)
	cc, _ := clientconn.Load(ctx)
	shared, ok := cc.(*dial.Conn)
	if !ok || u == nil || dial.IsRemote(u) {
		stop(ctx)
		return conn, nil
	}
	if w, ok := load(ctx); ok && w.conn == shared {
		select {
		case <-w.over:
		default:
			return conn, nil // watched
		}
	}
	stop(ctx)
	watched, cancel := context.WithCancel(s.ctx)
	metadata.Map(ctx, false).Store(key{}, watch{conn: shared, cancel: cancel, over: watched.Done()})
	go func() {
		defer cancel()
		if s.follow(watched, shared, u, s.grace(ctx, conn)) {
			s.ended(watched, conn.GetId())
		}
	}()
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	stop(ctx)
	return next.Server(ctx).Close(ctx, conn)
}

func load(ctx context.Context) (watch, bool) {
	value, _ := metadata.Map(ctx, false).Load(key{})
	w, ok := value.(watch)
	return w, ok
}

func stop(ctx context.Context) {
	if w, ok := load(ctx); ok {
		w.cancel()
		metadata.Map(ctx, false).Delete(key{})
	}
}

// follow returns true when the endpoint has ended, false at the end of ctx.
func (s *server) follow(ctx context.Context, conn *dial.Conn, u *url.URL, grace time.Duration) bool {
	var away time.Time // since when it refuses
	for ctx.Err() == nil {
		state := conn.GetState()
		if state == connectivity.Ready {
			away = time.Time{}
			conn.WaitForStateChange(ctx, state)
			continue
		}
		if state == connectivity.Shutdown {
			return false // another connection took its place, or everything ends
		}
		if state == connectivity.Idle {
			conn.Connect()
		}
		if !dial.Refuses(ctx, u) {
			away = time.Time{}
		} else if away.IsZero() {
			away = time.Now()
		}
		if !away.IsZero() && time.Since(away) >= grace {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}
