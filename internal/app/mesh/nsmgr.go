// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discoverforwarder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/netsvcmonitor"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registryadapters "github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/app/mesh/uplink"
	"github.com/weft-project/weft/internal/app/mesh/watchdog"
	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/monitor"
	"github.com/weft-project/weft/pkg/networkservice/orphan"
	"github.com/weft-project/weft/pkg/networkservice/pathid"
	"github.com/weft-project/weft/pkg/networkservice/unheard"
)

// manager is the SDK's nsmgr made of the SDK's elements, except for what breaks
// or slows down here. It always answers from a memory of its own, which the
// uplink keeps the same as the registry where there is one for several nodes
// (package uplink). It answers with socket paths, not with descriptors of
// sockets, because one endpoint whose socket is gone would end the watches of
// everybody else. Endpoints whose socket is gone are forgotten (package watchdog).
// Namespaces are passed on without holding them (package fd), over gRPC
// connections that all NSM connections share (package dial).
type manager struct {
	endpoint  endpoint.Endpoint
	services  registryapi.NetworkServiceRegistryServer
	endpoints registryapi.NetworkServiceEndpointRegistryServer
	uplink    *uplink.Uplink // nil without a registry elsewhere
}

func newManager(ctx context.Context, config Config, pool *dial.Pool, upstream grpc.ClientConnInterface, url string) *manager {
	serviceStore := memory.NewNetworkServiceRegistryServer()
	endpointStore := memory.NewNetworkServiceEndpointRegistryServer()
	m := &manager{}
	var publishService []registryapi.NetworkServiceRegistryServer
	receive := []registryapi.NetworkServiceEndpointRegistryServer{
		registryrecvfd.NewNetworkServiceEndpointRegistryServer(registryrecvfd.WithForwarderServiceName(forwarderService)),
		watchdog.NewServer(ctx, pool),
	}
	if upstream != nil {
		m.uplink = uplink.New(uplink.Config{
			Registry: upstream, URL: url, Private: []string{forwarderService},
			Services: serviceStore, Endpoints: endpointStore,
		})
		publishService = append(publishService, m.uplink.ServicesServer())
		receive = append(receive, m.uplink.EndpointsServer())
	}
	m.services = newServices(config.Security, append(publishService, serviceStore)...)
	m.endpoints = newEndpoints(ctx, config.Security, append(receive, newSettling(), endpointStore)...)
	services := registryadapters.NetworkServiceServerToClient(m.services)
	endpoints := registryadapters.NetworkServiceEndpointServerToClient(endpointStore)
	discover := discoverforwarder.NewServer(services, endpoints)
	// A forwarder that is away will be back, and has to be told.
	away := status.Error(codes.Unavailable, "the forwarder of the connection is not there")
	orphans := orphan.New(config.Name, anyForwarder{discover, endpoints}, fd.NewServer(),
		connect.NewServer(hop.NewCloser(config.Name, pool, away, fd.NewClient())))
	hub := monitor.New(ctx)
	m.endpoint = unheard.Wrap(config.Name, pathid.Wrap(config.Name, orphans.Wrap(hub.Wrap(endpoint.NewServer(ctx, config.Security.TokenGenerator,
		endpoint.WithName(config.Name),
		endpoint.WithAdditionalFunctionality(
			hub.NewServer(),
			orphans.NewServer(),
			adapters.NewClientToServer(clientinfo.NewClient()),
			discover,
			netsvcmonitor.NewServer(ctx, services, endpoints),
			fd.NewServer(),
			connect.NewServer(hop.NewClient(config.Name, pool, fd.NewClient())),
		),
	)))))
	return m
}

func (m *manager) register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, m.endpoint, m.endpoints, m.services)
	networkservice.RegisterNetworkServiceServer(s, m.endpoint)
	networkservice.RegisterMonitorConnectionServer(s, m.endpoint)
	registryapi.RegisterNetworkServiceRegistryServer(s, m.services)
	registryapi.RegisterNetworkServiceEndpointRegistryServer(s, m.endpoints)
}
