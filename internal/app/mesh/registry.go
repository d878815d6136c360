// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/registry"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
)

// NewNSEClient returns a client for network service endpoints at the nsmgr (or
// registry) at connectTo. It keeps what it registered registered, also over a
// restart of the nsmgr, until Unregister or the end of ctx; Find with Watch
// survives a restart too.
func NewNSEClient(ctx context.Context, connectTo *url.URL, security Security) registry.NetworkServiceEndpointRegistryClient {
	return registryclient.NewNetworkServiceEndpointRegistryClient(ctx, registryOptions(connectTo, security)...)
}

// NewNSClient returns a client for network services at connectTo.
func NewNSClient(ctx context.Context, connectTo *url.URL, security Security) registry.NetworkServiceRegistryClient {
	return registryclient.NewNetworkServiceRegistryClient(ctx, registryOptions(connectTo, security)...)
}

func registryOptions(connectTo *url.URL, security Security) []registryclient.Option {
	return []registryclient.Option{
		registryclient.WithClientURL(connectTo),
		registryclient.WithDialOptions(security.withDefaults().DialOptions...),
		registryclient.WithDialTimeout(DefaultDialTimeout),
	}
}
