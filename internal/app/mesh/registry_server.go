// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	registryclientinfo "github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/registry/common/expire"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setpayload"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setregistrationtime"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
)

// RegistryConfig of a registry for the nsmgrs of several nodes.
type RegistryConfig struct {
	// ListenOn are the URLs to serve on, unix or tcp.
	ListenOn []*url.URL
	// Security is Plain(DefaultTokenLifetime) when zero.
	Security Security
}

// Validate returns every problem of the configuration.
func (c RegistryConfig) Validate() error {
	if len(c.ListenOn) == 0 {
		return errors.New("registry: ListenOn is empty")
	}
	return nil
}

// Registry is a running registry. It keeps everything in memory: nsmgrs register
// again what it forgets.
type Registry struct {
	server *Server
	stop   func() error
}

// StartRegistry runs a registry until Stop or the end of ctx.
func StartRegistry(ctx context.Context, config RegistryConfig) (*Registry, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.Security = config.Security.withDefaults()
	chains, cancel := context.WithCancel(context.WithoutCancel(ctx))
	services := newServices(config.Security, memory.NewNetworkServiceRegistryServer())
	endpoints := newEndpoints(chains, config.Security, memory.NewNetworkServiceEndpointRegistryServer())
	server, err := Serve(config.Security, config.ListenOn, func(s *grpc.Server) {
		grpcutils.RegisterHealthServices(s, services, endpoints)
		registry.RegisterNetworkServiceRegistryServer(s, services)
		registry.RegisterNetworkServiceEndpointRegistryServer(s, endpoints)
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r := &Registry{server: server}
	r.stop = sync.OnceValue(func() error {
		defer cancel()
		return server.Stop()
	})
	context.AfterFunc(ctx, func() { _ = r.stop() })
	return r, nil
}

// URLs returns where the registry serves.
func (r *Registry) URLs() []*url.URL { return r.server.URLs() }

// Stop ends everything that StartRegistry began.
func (r *Registry) Stop() error { return r.stop() }

// newServices returns the chain in front of where network services are kept.
func newServices(security Security, store ...registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer {
	return registrychain.NewNetworkServiceRegistryServer(append([]registry.NetworkServiceRegistryServer{
		grpcmetadata.NewNetworkServiceRegistryServer(),
		updatepath.NewNetworkServiceRegistryServer(security.TokenGenerator),
		metadata.NewNetworkServiceServer(),
		setpayload.NewNetworkServiceRegistryServer(),
	}, store...)...)
}

// newEndpoints returns the chain in front of where endpoints are kept.
func newEndpoints(ctx context.Context, security Security, store ...registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer {
	return registrychain.NewNetworkServiceEndpointRegistryServer(append([]registry.NetworkServiceEndpointRegistryServer{
		grpcmetadata.NewNetworkServiceEndpointRegistryServer(),
		updatepath.NewNetworkServiceEndpointRegistryServer(security.TokenGenerator),
		begin.NewNetworkServiceEndpointRegistryServer(),
		metadata.NewNetworkServiceEndpointServer(),
		registryclientinfo.NewNetworkServiceEndpointRegistryServer(),
		setregistrationtime.NewNetworkServiceEndpointRegistryServer(),
		expire.NewNetworkServiceEndpointRegistryServer(ctx, expire.WithDefaultExpiration(endpointExpiration)),
	}, store...)...)
}
