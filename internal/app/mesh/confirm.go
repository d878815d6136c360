// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// confirmTimeout is how long an nsmgr has for telling that it knows what was
// registered; it does so at once, unless it starves.
const confirmTimeout = 3 * time.Second

// confirm makes the SDK's heal element, which stands before it, register again
// when the nsmgr does not know the endpoint. That element watches its endpoint
// only to learn that the nsmgr is gone. When one nsmgr answers the registration
// and ends, and the next one takes the watch, nothing is lost for it, and the
// endpoint would not be found until its registration is refreshed.
type confirm struct {
	mu    sync.Mutex
	names map[string]bool // registered by this client
}

func newConfirm() registry.NetworkServiceEndpointRegistryClient {
	return &confirm{names: map[string]bool{}}
}

func (c *confirm) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	answer, err := next.NetworkServiceEndpointRegistryClient(ctx).Register(ctx, nse, opts...)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.names[nse.GetName()] = true
	}
	return answer, err
}

func (c *confirm) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.mu.Lock()
	delete(c.names, nse.GetName())
	c.mu.Unlock()
	return next.NetworkServiceEndpointRegistryClient(ctx).Unregister(ctx, nse, opts...)
}

func (c *confirm) Find(ctx context.Context, query *registry.NetworkServiceEndpointQuery, opts ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	name := query.GetNetworkServiceEndpoint().GetName()
	c.mu.Lock()
	mine := query.GetWatch() && c.names[name]
	c.mu.Unlock()
	if !mine {
		return next.NetworkServiceEndpointRegistryClient(ctx).Find(ctx, query, opts...)
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := next.NetworkServiceEndpointRegistryClient(ctx).Find(ctx, query, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &confirmed{
		NetworkServiceEndpointRegistry_FindClient: stream, name: name, cancel: cancel,
		late: time.AfterFunc(confirmTimeout, cancel),
	}, nil
}

// confirmed is a watch that ends when it does not begin with the endpoint.
type confirmed struct {
	registry.NetworkServiceEndpointRegistry_FindClient
	name   string
	cancel context.CancelFunc
	late   *time.Timer
}

func (c *confirmed) Recv() (*registry.NetworkServiceEndpointResponse, error) {
	response, err := c.NetworkServiceEndpointRegistry_FindClient.Recv()
	switch {
	case err != nil:
		c.late.Stop()
		c.cancel()
	case response.GetNetworkServiceEndpoint().GetName() == c.name && !response.GetDeleted():
		c.late.Stop()
	case response.GetNetworkServiceEndpoint().GetName() == c.name:
		c.late.Stop()
		c.cancel()
		return nil, status.Errorf(codes.Aborted, "the nsmgr has forgotten endpoint %s", c.name)
	}
	return response, err
}
