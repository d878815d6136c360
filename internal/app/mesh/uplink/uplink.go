// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"google.golang.org/grpc"
)

// DefaultGrace is how long what a registry that came back does not confirm is
// kept: other nodes need a while to publish again.
const DefaultGrace = 15 * time.Second

// Config of an uplink.
type Config struct {
	// Registry is the connection to the registry; it stays the caller's.
	Registry grpc.ClientConnInterface
	// URL is where other nodes reach this nsmgr.
	URL string
	// Private are network services whose endpoints concern this node only:
	// forwarders.
	Private []string
	// Services and Endpoints are the nsmgr's memory.
	Services  registry.NetworkServiceRegistryServer
	Endpoints registry.NetworkServiceEndpointRegistryServer
	Grace     time.Duration // DefaultGrace when zero
	Log       *slog.Logger  // slog.Default() when nil
}

// Uplink is the connection of an nsmgr to a registry.
type Uplink struct {
	services  *table[*registry.NetworkService]
	endpoints *table[*registry.NetworkServiceEndpoint]
	private   []string
}

// New returns an uplink, which works in Run.
func New(c Config) *Uplink {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	u := &Uplink{private: c.Private}
	u.services = newTable(services(c), c.Log.With("registry", "network services"), c.Grace)
	u.endpoints = newTable(endpoints(c, u.isPrivate), c.Log.With("registry", "endpoints"), c.Grace)
	return u
}

// Run works until ctx ends.
func (u *Uplink) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { u.services.follow(ctx) })
	work.Go(func() { u.endpoints.follow(ctx) })
	work.Wait()
}

func (u *Uplink) isPrivate(nse *registry.NetworkServiceEndpoint) bool {
	return slices.ContainsFunc(nse.GetNetworkServiceNames(), func(name string) bool { return slices.Contains(u.private, name) })
}

func services(c Config) source[*registry.NetworkService] {
	client := registrychain.NewNetworkServiceRegistryClient(
		grpcmetadata.NewNetworkServiceRegistryClient(), registry.NewNetworkServiceRegistryClient(c.Registry))
	return source[*registry.NetworkService]{
		name: func(ns *registry.NetworkService) string { return ns.GetName() },
		watch: func(ctx context.Context) (func() (event[*registry.NetworkService], error), error) {
			stream, err := client.Find(ctx, &registry.NetworkServiceQuery{NetworkService: &registry.NetworkService{}, Watch: true})
			return func() (event[*registry.NetworkService], error) {
				r, err := stream.Recv()
				ns := r.GetNetworkService()
				if ns != nil {
					ns.PathIds = nil
				}
				return event[*registry.NetworkService]{ns, r.GetDeleted()}, err
			}, err
		},
		publish: func(ctx context.Context, ns *registry.NetworkService) (time.Time, error) {
			_, err := client.Register(withPath(ctx), ns)
			return time.Time{}, err
		},
		retract: func(ctx context.Context, ns *registry.NetworkService) error {
			_, err := client.Unregister(withPath(ctx), ns)
			return err
		},
		put: func(ctx context.Context, ns *registry.NetworkService) error {
			_, err := c.Services.Register(ctx, ns)
			return err
		},
		drop: func(ctx context.Context, ns *registry.NetworkService) error {
			_, err := c.Services.Unregister(ctx, ns)
			return err
		},
		mine:    func(*registry.NetworkService) bool { return false },
		ignored: func(ns *registry.NetworkService) bool { return slices.Contains(c.Private, ns.GetName()) },
		shared:  true,
	}
}

func endpoints(c Config, private func(*registry.NetworkServiceEndpoint) bool) source[*registry.NetworkServiceEndpoint] {
	client := registrychain.NewNetworkServiceEndpointRegistryClient(
		grpcmetadata.NewNetworkServiceEndpointRegistryClient(), registry.NewNetworkServiceEndpointRegistryClient(c.Registry))
	return source[*registry.NetworkServiceEndpoint]{
		name: func(nse *registry.NetworkServiceEndpoint) string { return nse.GetName() },
		watch: func(ctx context.Context) (func() (event[*registry.NetworkServiceEndpoint], error), error) {
			stream, err := client.Find(ctx, &registry.NetworkServiceEndpointQuery{
				NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{}, Watch: true,
			})
			return func() (event[*registry.NetworkServiceEndpoint], error) {
				r, err := stream.Recv()
				nse := r.GetNetworkServiceEndpoint()
				if nse != nil {
					// The registry says when it expires, by its own clock; and
					// refreshes are no news.
					nse.ExpirationTime, nse.PathIds = nil, nil
				}
				return event[*registry.NetworkServiceEndpoint]{nse, r.GetDeleted()}, err
			}, err
		},
		publish: func(ctx context.Context, nse *registry.NetworkServiceEndpoint) (time.Time, error) {
			nse.Url, nse.ExpirationTime = c.URL, nil
			answer, err := client.Register(withPath(ctx), nse)
			if err != nil || answer.GetExpirationTime() == nil {
				return time.Time{}, err
			}
			return answer.GetExpirationTime().AsTime(), nil
		},
		retract: func(ctx context.Context, nse *registry.NetworkServiceEndpoint) error {
			nse.Url = c.URL
			_, err := client.Unregister(withPath(ctx), nse)
			return err
		},
		put: func(ctx context.Context, nse *registry.NetworkServiceEndpoint) error {
			_, err := c.Endpoints.Register(ctx, nse)
			return err
		},
		drop: func(ctx context.Context, nse *registry.NetworkServiceEndpoint) error {
			_, err := c.Endpoints.Unregister(ctx, nse)
			return err
		},
		mine:    func(nse *registry.NetworkServiceEndpoint) bool { return nse.GetUrl() == c.URL },
		ignored: private,
	}
}

// withPath gives a call a copy of the path: the client writes the answer's into
// it, and it would grow with every refresh.
func withPath(ctx context.Context) context.Context {
	return grpcmetadata.PathWithContext(ctx, grpcmetadata.PathFromContext(ctx).Clone())
}
