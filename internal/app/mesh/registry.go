// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"fmt"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/registry"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	"github.com/networkservicemesh/sdk/pkg/registry/common/heal"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registrysendfd "github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

// NewNSEClient returns a client for network service endpoints at the nsmgr (or
// registry) at connectTo. It keeps what it registered registered, also over a
// restart of the nsmgr, until Unregister or the end of ctx; Find with Watch
// survives a restart too.
func NewNSEClient(ctx context.Context, connectTo *url.URL, security Security, options ...RegistryOption) registry.NetworkServiceEndpointRegistryClient {
	all := append(registryOptions(connectTo, security), registryclient.WithNSEHealClient(
		registrychain.NewNetworkServiceEndpointRegistryClient(heal.NewNetworkServiceEndpointRegistryClient(ctx), newConfirm())))
	for _, option := range options {
		all = append(all, option()...)
	}
	return registryclient.NewNetworkServiceEndpointRegistryClient(ctx, all...)
}

// RegistryOption changes a client of NewNSEClient.
type RegistryOption func() []registryclient.Option

// PassSocket registers endpoints on unix sockets with a descriptor of the
// socket, for an nsmgr in another mount namespace, and receives those of others.
func PassSocket() RegistryOption {
	return func() []registryclient.Option {
		return []registryclient.Option{registryclient.WithNSEAdditionalFunctionality(
			registryrecvfd.NewNetworkServiceEndpointRegistryClient(),
			registrysendfd.NewNetworkServiceEndpointRegistryClient(),
		)}
	}
}

// NewNSClient returns a client for network services at connectTo.
func NewNSClient(ctx context.Context, connectTo *url.URL, security Security) registry.NetworkServiceRegistryClient {
	return registryclient.NewNetworkServiceRegistryClient(ctx, registryOptions(connectTo, security)...)
}

// Dial returns a gRPC connection to the nsmgr (or registry) at connectTo. It
// connects when it is used, and anew when it is lost.
func Dial(connectTo *url.URL, security Security) (*grpc.ClientConn, error) {
	options := dialOptions(security)
	if connectTo.Scheme == "tcp" {
		options = append(options, grpc.WithContextDialer(dial.TCP))
	}
	conn, err := grpc.NewClient(grpcutils.URLToTarget(connectTo), options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", connectTo, err)
	}
	return conn, nil
}

func registryOptions(connectTo *url.URL, security Security) []registryclient.Option {
	return []registryclient.Option{
		registryclient.WithClientURL(connectTo),
		registryclient.WithDialOptions(dialOptions(security)...),
		registryclient.WithDialTimeout(DefaultDialTimeout),
	}
}

func dialOptions(security Security) []grpc.DialOption {
	return append([]grpc.DialOption{grpc.WithConnectParams(dial.Reconnect)}, security.withDefaults().DialOptions...)
}
