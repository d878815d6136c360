// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/heal"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// nsmgrs answer registrations; their watches begin with what was registered
// unless it was at the one before.
type nsmgrs struct {
	registrations atomic.Int32
	forgets       int32 // so many of the first registrations
	said          chan *registry.NetworkServiceEndpointResponse
}

func (n *nsmgrs) Register(_ context.Context, nse *registry.NetworkServiceEndpoint, _ ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	n.registrations.Add(1)
	return nse, nil
}

func (n *nsmgrs) Unregister(context.Context, *registry.NetworkServiceEndpoint, ...grpc.CallOption) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (n *nsmgrs) Find(ctx context.Context, query *registry.NetworkServiceEndpointQuery, _ ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	w := &watch{ctx: ctx, said: n.said}
	if n.registrations.Load() > n.forgets {
		w.first = &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: query.GetNetworkServiceEndpoint()}
	}
	return w, nil
}

type watch struct {
	grpc.ClientStream
	ctx   context.Context
	first *registry.NetworkServiceEndpointResponse
	said  chan *registry.NetworkServiceEndpointResponse
}

func (w *watch) Recv() (*registry.NetworkServiceEndpointResponse, error) {
	if first := w.first; first != nil {
		w.first = nil
		return first, nil
	}
	select {
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	case r := <-w.said:
		return r, nil
	}
}

// TestUnconfirmedIsRegisteredAgain: an nsmgr that took the watch of an endpoint
// that it does not know, or has forgotten it, gets it again, and one that knows it
// is left alone.
func TestUnconfirmedIsRegisteredAgain(t *testing.T) {
	for name, test := range map[string]struct {
		forgets, deletions, want int32
	}{
		"known": {0, 0, 1}, "at the one before": {1, 0, 2}, "twice": {2, 0, 3}, "forgotten later": {0, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n := &nsmgrs{forgets: test.forgets, said: make(chan *registry.NetworkServiceEndpointResponse)}
				client := chain.NewNetworkServiceEndpointRegistryClient(begin.NewNetworkServiceEndpointRegistryClient(),
					metadata.NewNetworkServiceEndpointClient(), heal.NewNetworkServiceEndpointRegistryClient(ctx), newConfirm(), n)
				nse := &registry.NetworkServiceEndpoint{Name: "forwarder"}
				if _, err := client.Register(ctx, nse.Clone()); err != nil {
					t.Fatal(err)
				}
				for range test.deletions {
					n.said <- &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: nse.Clone(), Deleted: true}
				}
				time.Sleep(time.Minute)
				if got := n.registrations.Load(); got != test.want {
					t.Errorf("%d registrations, want %d", got, test.want)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}
