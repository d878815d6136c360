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
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	registryclientinfo "github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/registry/common/expire"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setpayload"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setregistrationtime"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	registryadapters "github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/fd"
)

// manager is the SDK's nsmgr and registry (chains/nsmgr, chains/memory) made of
// the SDK's elements, except for what breaks or slows down here. The registry
// answers with socket paths, not with descriptors of sockets, because one
// endpoint whose socket is gone would end the watches of everybody else.
// Namespaces are passed on without holding them (package fd), over gRPC
// connections that all NSM connections share (package dial).
type manager struct {
	endpoint  endpoint.Endpoint
	services  registryapi.NetworkServiceRegistryServer
	endpoints registryapi.NetworkServiceEndpointRegistryServer
}

func newManager(ctx context.Context, config Config, pool *dial.Pool) *manager {
	generate := config.Security.TokenGenerator
	m := &manager{
		services: registrychain.NewNetworkServiceRegistryServer(
			grpcmetadata.NewNetworkServiceRegistryServer(),
			updatepath.NewNetworkServiceRegistryServer(generate),
			metadata.NewNetworkServiceServer(),
			setpayload.NewNetworkServiceRegistryServer(),
			memory.NewNetworkServiceRegistryServer(),
		),
	}
	store := memory.NewNetworkServiceEndpointRegistryServer()
	m.endpoints = registrychain.NewNetworkServiceEndpointRegistryServer(
		grpcmetadata.NewNetworkServiceEndpointRegistryServer(),
		updatepath.NewNetworkServiceEndpointRegistryServer(generate),
		begin.NewNetworkServiceEndpointRegistryServer(),
		metadata.NewNetworkServiceEndpointServer(),
		registryclientinfo.NewNetworkServiceEndpointRegistryServer(),
		setregistrationtime.NewNetworkServiceEndpointRegistryServer(),
		expire.NewNetworkServiceEndpointRegistryServer(ctx, expire.WithDefaultExpiration(endpointExpiration)),
		registryrecvfd.NewNetworkServiceEndpointRegistryServer(registryrecvfd.WithForwarderServiceName(forwarderService)),
		store,
	)
	services := registryadapters.NetworkServiceServerToClient(m.services)
	endpoints := registryadapters.NetworkServiceEndpointServerToClient(store)
	m.endpoint = endpoint.NewServer(ctx, generate,
		endpoint.WithName(config.Name),
		endpoint.WithAdditionalFunctionality(
			adapters.NewClientToServer(clientinfo.NewClient()),
			discoverforwarder.NewServer(services, endpoints),
			netsvcmonitor.NewServer(ctx, services, endpoints),
			fd.NewServer(),
			connect.NewServer(hop.NewClient(config.Name, pool, fd.NewClient())),
		),
	)
	return m
}

func (m *manager) register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, m.endpoint, m.endpoints, m.services)
	networkservice.RegisterNetworkServiceServer(s, m.endpoint)
	networkservice.RegisterMonitorConnectionServer(s, m.endpoint)
	registryapi.RegisterNetworkServiceRegistryServer(s, m.services)
	registryapi.RegisterNetworkServiceEndpointRegistryServer(s, m.endpoints)
}
