// SPDX-License-Identifier: Apache-2.0

package watchdog

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/nselabel"
)

// pause between looks at an endpoint that does not answer.
const pause = 100 * time.Millisecond

type server struct {
	ctx  context.Context
	pool *dial.Pool

	mu      sync.Mutex
	watched map[string]watch
}

type watch struct {
	url    string
	grace  time.Duration
	events begin.EventFactory
	cancel context.CancelFunc
}

// NewServer returns the element; it works until ctx ends. The pool stays the
// caller's.
func NewServer(ctx context.Context, pool *dial.Pool) registry.NetworkServiceEndpointRegistryServer {
	return &server{ctx: ctx, pool: pool, watched: map[string]watch{}}
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	answer, err := next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
	if err == nil {
		s.watch(ctx, answer)
	}
	return answer, err
}

func (s *server) Find(query *registry.NetworkServiceEndpointQuery, server registry.NetworkServiceEndpointRegistry_FindServer) error {
	return next.NetworkServiceEndpointRegistryServer(server.Context()).Find(query, server)
}

func (s *server) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	s.mu.Lock()
	if w, ok := s.watched[nse.GetName()]; ok {
		w.cancel()
		delete(s.watched, nse.GetName())
	}
	s.mu.Unlock()
	return next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
}

// watch begins to watch an endpoint, unless a refresh finds it watched.
func (s *server) watch(ctx context.Context, nse *registry.NetworkServiceEndpoint) {
	u, err := url.Parse(nse.GetUrl())
	if err != nil {
		return // nobody can reach it
	}
	w := watch{url: nse.GetUrl(), grace: nselabel.Grace(nse), events: begin.FromContext(ctx)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.watched[nse.GetName()]; ok {
		if before.url == w.url && before.grace == w.grace && before.events == w.events {
			return
		}
		before.cancel()
	}
	watched, cancel := context.WithCancel(s.ctx)
	w.cancel = cancel
	s.watched[nse.GetName()] = w
	go func() {
		defer cancel()
		if s.follow(watched, u, w.grace) {
			slog.Info("endpoint has ended", "endpoint", nse.GetName(), "url", w.url)
			<-w.events.Unregister(begin.CancelContext(watched), begin.ExtendContext(ctx))
		}
	}()
}

// follow returns true when the endpoint has ended, false at the end of ctx.
func (s *server) follow(ctx context.Context, u *url.URL, grace time.Duration) bool {
	seen := false
	var away time.Time // since when it refuses
	for ctx.Err() == nil {
		conn, err := s.pool.Get(ctx, u)
		if err == nil {
			seen, away = true, time.Time{}
			for state := conn.GetState(); state == connectivity.Ready && conn.WaitForStateChange(ctx, state); state = conn.GetState() {
			}
			conn.Release()
			continue
		}
		if seen && dial.Refuses(ctx, u) {
			if away.IsZero() {
				away = time.Now()
			}
			if time.Since(away) >= grace {
				return true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}
