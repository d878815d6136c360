// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
)

// Registration is a registered endpoint. It stays registered, also over a
// restart of the nsmgr, until Unregister.
type Registration struct {
	nse       *registry.NetworkServiceEndpoint
	connectTo *url.URL
	security  Security
	cancel    context.CancelFunc
}

// Register registers an endpoint with the nsmgr at connectTo. ctx bounds this
// call only.
func Register(ctx context.Context, connectTo *url.URL, security Security, nse *registry.NetworkServiceEndpoint, options ...RegistryOption) (*Registration, error) {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	registered, err := NewNSEClient(alive, connectTo, security, options...).Register(ctx, nse)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("register %s at %s: %w", nse.GetName(), connectTo, err)
	}
	return &Registration{nse: registered, connectTo: connectTo, security: security, cancel: cancel}, nil
}

// NSE returns the endpoint as the registry has it.
func (r *Registration) NSE() *registry.NetworkServiceEndpoint { return r.nse }

// Unregister ends the registration. When the nsmgr does not answer before ctx
// ends, the endpoint expires there by itself.
//
// The SDK's client would first end the attempts to register again, which take
// 15 s each while the nsmgr is away; this call is one of its own.
func (r *Registration) Unregister(ctx context.Context) (err error) {
	r.cancel()
	conn, err := Dial(r.connectTo, r.security)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	client := registrychain.NewNetworkServiceEndpointRegistryClient(
		grpcmetadata.NewNetworkServiceEndpointRegistryClient(),
		registry.NewNetworkServiceEndpointRegistryClient(conn),
	)
	if _, err := client.Unregister(ctx, r.nse.Clone()); err != nil {
		return fmt.Errorf("unregister %s at %s: %w", r.nse.GetName(), r.connectTo, err)
	}
	return nil
}
