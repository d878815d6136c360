// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ServicesServer returns the element that publishes the network services that
// pass it; the nsmgr's memory follows it.
func (u *Uplink) ServicesServer() registry.NetworkServiceRegistryServer { return &servicesServer{u} }

// EndpointsServer does the same for endpoints.
func (u *Uplink) EndpointsServer() registry.NetworkServiceEndpointRegistryServer {
	return &endpointsServer{u}
}

type servicesServer struct{ *Uplink }

func (s *servicesServer) Register(ctx context.Context, ns *registry.NetworkService) (*registry.NetworkService, error) {
	answer, err := next.NetworkServiceRegistryServer(ctx).Register(ctx, ns)
	if err == nil {
		s.services.set(ctx, answer, false)
	}
	return answer, err
}

func (s *servicesServer) Find(query *registry.NetworkServiceQuery, server registry.NetworkServiceRegistry_FindServer) error {
	return next.NetworkServiceRegistryServer(server.Context()).Find(query, server)
}

func (s *servicesServer) Unregister(ctx context.Context, ns *registry.NetworkService) (*emptypb.Empty, error) {
	answer, err := next.NetworkServiceRegistryServer(ctx).Unregister(ctx, ns)
	if err == nil {
		s.services.set(ctx, ns, true)
	}
	return answer, err
}

type endpointsServer struct{ *Uplink }

func (s *endpointsServer) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	answer, err := next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
	if err == nil && !s.isPrivate(answer) {
		s.endpoints.set(ctx, answer, false)
	}
	return answer, err
}

func (s *endpointsServer) Find(query *registry.NetworkServiceEndpointQuery, server registry.NetworkServiceEndpointRegistry_FindServer) error {
	return next.NetworkServiceEndpointRegistryServer(server.Context()).Find(query, server)
}

func (s *endpointsServer) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	if s.endpoints.foreign(nse.GetName()) {
		return nil, status.Errorf(codes.PermissionDenied, "endpoint %s is registered on another node", nse.GetName())
	}
	answer, err := next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
	if err == nil && !s.isPrivate(nse) {
		s.endpoints.set(ctx, nse, true)
	}
	return answer, err
}
