// SPDX-License-Identifier: Apache-2.0

package vacate_test

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

// element is a hop's own: it says something in Close, and notes what was said.
type element struct {
	say   *bool
	heard chan bool
}

func (e *element) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return next.Server(ctx).Request(ctx, request)
}

func (e *element) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	e.heard <- vacate.Vacated(ctx)
	if e.say != nil {
		ctx = vacate.With(ctx, *e.say)
	}
	return next.Server(ctx).Close(ctx, conn)
}

// node serves a chain and returns where.
func node(t *testing.T, elements ...networkservice.NetworkServiceServer) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	networkservice.RegisterNetworkServiceServer(server, chain.NewNetworkServiceServer(
		append([]networkservice.NetworkServiceServer{begin.NewServer(), metadata.NewServer()}, elements...)...))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "tcp", Host: listener.Addr().String()}
}

// to sends on to the next hop, as the chains do.
func to(pool *dial.Pool, name string, at *url.URL) networkservice.NetworkServiceServer {
	return chain.NewNetworkServiceServer(&direct{at}, connect.NewServer(hop.NewClient(name, pool)))
}

type direct struct{ to *url.URL }

func (d *direct) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return next.Server(ctx).Request(clienturlctx.WithClientURL(ctx, d.to), request)
}

func (d *direct) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(clienturlctx.WithClientURL(ctx, d.to), conn)
}

// TestAlongAPath: what the first forwarder says arrives at the endpoint behind
// two more hops, and what the client says does not.
func TestAlongAPath(t *testing.T) {
	for name, said := range map[string]bool{"left": true, "not left": false} {
		t.Run(name, func(t *testing.T) {
			testutil.CheckLeaks(t)
			pool := dial.NewPool(dial.WithDialOptions(grpc.WithTransportCredentials(insecure.NewCredentials())))
			t.Cleanup(pool.Close)
			endpoint, second := &element{heard: make(chan bool, 1)}, &element{heard: make(chan bool, 1)}
			first := &element{heard: make(chan bool, 1), say: &said}
			at := node(t, endpoint)
			at = node(t, second, to(pool, "second", at))
			at = node(t, to(pool, "nsmgr", at))
			at = node(t, first, to(pool, "first", at))
			conn, err := grpc.NewClient(at.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			client := networkservice.NewNetworkServiceClient(conn)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			ctx = grpcmetadata.AppendToOutgoingContext(ctx, "weft-vacated", "1")
			answer, err := client.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
				Id: "1", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "client", Id: "1"}}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Close(ctx, answer); err != nil {
				t.Fatal(err)
			}
			if got := [3]bool{<-first.heard, <-second.heard, <-endpoint.heard}; got != [3]bool{true, said, said} {
				t.Errorf("heard %v", got)
			}
		})
	}
}
