// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"time"

	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/mesh/uplink"
)

// settling answers for an nsmgr that has just started and does not know all
// endpoints yet: until they have had the time to register again, one that it
// does not find may be there all the same. Whoever takes it for gone would not
// close what it has.
type settling struct{ until time.Time }

func newSettling() settling { return settling{until: time.Now().Add(uplink.DefaultGrace)} }

func (settling) Register(ctx context.Context, nse *registryapi.NetworkServiceEndpoint) (*registryapi.NetworkServiceEndpoint, error) {
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
}

func (settling) Unregister(ctx context.Context, nse *registryapi.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	return next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
}

func (s settling) Find(query *registryapi.NetworkServiceEndpointQuery, stream registryapi.NetworkServiceEndpointRegistry_FindServer) error {
	name := query.GetNetworkServiceEndpoint().GetName()
	if name == "" || query.GetWatch() || time.Now().After(s.until) {
		return next.NetworkServiceEndpointRegistryServer(stream.Context()).Find(query, stream)
	}
	look := &looking{NetworkServiceEndpointRegistry_FindServer: stream, name: name}
	err := next.NetworkServiceEndpointRegistryServer(stream.Context()).Find(query, look)
	if err == nil && !look.found {
		return status.Errorf(codes.Unavailable, "this nsmgr has just started and does not know of endpoint %s yet", name)
	}
	return err
}

// looking notes whether one endpoint is among those that are found.
type looking struct {
	registryapi.NetworkServiceEndpointRegistry_FindServer
	name  string
	found bool
}

func (l *looking) Send(response *registryapi.NetworkServiceEndpointResponse) error {
	l.found = l.found || response.GetNetworkServiceEndpoint().GetName() == l.name
	return l.NetworkServiceEndpointRegistry_FindServer.Send(response)
}
