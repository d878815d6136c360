// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/stitch"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// Config of the chain; all fields but Tunnels and Authorize are needed.
type Config struct {
	Name           string // in the path of connections
	TokenGenerator token.GeneratorFunc
	Services       registry.NetworkServiceRegistryClient
	Endpoints      registry.NetworkServiceEndpointRegistryClient
	Pool           *dial.Pool // connections to endpoints; stays the caller's
	Stitcher       stitch.Stitcher
	Tunnels        tunnelmech.Config                   // to other nodes; the zero value has none
	Authorize      networkservice.NetworkServiceServer // nil: nobody is refused
}

// NewServer returns the chain; it works until ctx ends.
//
// The SDK's elements come first (path, begin, token, authorization, metadata,
// timeout, monitor). A bad interface is refused at once, descriptors are received
// before anybody needs a namespace. The endpoint is chosen; its labels tell whether
// the way of a client on another node will do, for which there is a VNI then. The
// leg is made when the elements behind it have the endpoint's answer. Of the two
// mechanisms of the client chain one works, by where the endpoint is.
func NewServer(ctx context.Context, config Config) endpoint.Endpoint {
	if config.Authorize == nil {
		config.Authorize = authorize.NewServer(authorize.Any())
	}
	return endpoint.NewServer(ctx, config.TokenGenerator,
		endpoint.WithName(config.Name),
		endpoint.WithAuthorizeServer(config.Authorize),
		endpoint.WithAdditionalFunctionality(
			isolate.NewServer(),
			kernelmech.NewServer(),
			fd.NewServer(),
			discover.NewServer(config.Services, tunnelmech.RecordPolicies(config.Endpoints)),
			roundrobin.NewServer(),
			tunnelmech.NewServer(config.Tunnels),
			stitch.NewServer(config.Stitcher),
			connect.NewServer(hop.NewClient(config.Name, config.Pool,
				kernelmech.NewClient(),
				tunnelmech.NewClient(config.Tunnels),
				fd.NewClient(),
			)),
		),
	)
}
