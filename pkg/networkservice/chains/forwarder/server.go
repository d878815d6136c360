// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"log/slog"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/pkg/networkservice/chains/hop"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/hopwatch"
	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/monitor"
	"github.com/weft-project/weft/pkg/networkservice/nselabel"
	"github.com/weft-project/weft/pkg/networkservice/orphan"
	"github.com/weft-project/weft/pkg/networkservice/pathid"
	"github.com/weft-project/weft/pkg/networkservice/stitch"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
	"github.com/weft-project/weft/pkg/networkservice/unheard"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
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
	VLANs          vlanmech.Trunk                      // makes frontends' interfaces in VLANs
	Devices        vlanmech.Devices                    // base interfaces by the label via
	Authorize      networkservice.NetworkServiceServer // nil: nobody is refused
}

// NewServer returns the chain; it works until ctx ends.
//
// The SDK's elements come first (path, begin, token, authorization, metadata,
// timeout, monitor). A bad interface is refused at once, descriptors are received
// before anybody needs a namespace. The endpoint is chosen; its labels tell whether
// the way of a client on another node will do, for which there is a VNI then. The
// leg is made when the elements behind it have the endpoint's answer. Of the two
// mechanisms of the client chain one works, by where the endpoint is; when the
// endpoint answers with a VLAN instead, vlanmech makes the interface.
//
// A connection of an earlier process is closed by the same elements without those
// of the SDK, which would not know it.
func NewServer(ctx context.Context, config Config) endpoint.Endpoint {
	if config.Authorize == nil {
		config.Authorize = authorize.NewServer(authorize.Any())
	}
	find := discover.NewServer(config.Services, nselabel.Record(config.Endpoints))
	choose := roundrobin.NewServer()
	elements := func(connects networkservice.NetworkServiceServer) []networkservice.NetworkServiceServer {
		return []networkservice.NetworkServiceServer{
			isolate.NewServer(),
			kernelmech.NewServer(),
			fd.NewServer(),
			find,
			choose,
			tunnelmech.NewServer(config.Tunnels),
			vlanmech.NewServer(config.VLANs),
			stitch.NewServer(config.Stitcher),
			hopwatch.NewServer(ctx, lose(config.Stitcher), nselabel.GraceOf),
			connects,
		}
	}
	clients := []networkservice.NetworkServiceClient{
		kernelmech.NewClient(),
		tunnelmech.NewClient(config.Tunnels),
		vlanmech.NewClient(config.Devices),
		fd.NewClient(),
	}
	// An endpoint that is gone needs no Close.
	closer := hop.NewCloser(config.Name, config.Pool, nil, clients...)
	orphans := orphan.New(config.Name, append([]networkservice.NetworkServiceServer{config.Authorize},
		elements(gone{connect.NewServer(closer), config.Endpoints})...)...)
	hub := monitor.New(ctx)
	return unheard.Wrap(config.Name, pathid.Wrap(config.Name, orphans.Wrap(hub.Wrap(endpoint.NewServer(ctx, config.TokenGenerator,
		endpoint.WithName(config.Name),
		endpoint.WithAuthorizeServer(config.Authorize),
		endpoint.WithAdditionalFunctionality(append([]networkservice.NetworkServiceServer{hub.NewServer(), orphans.NewServer()},
			elements(connect.NewServer(hop.NewClient(config.Name, config.Pool, clients...)))...)...),
	)))))
}

// lose takes the legs of endpoints that have ended out of the way of answers, as
// long as there are others.
func lose(stitcher stitch.Stitcher) func(context.Context, string) {
	return func(ctx context.Context, id string) {
		if err := stitcher.Lose(ctx, id); err != nil {
			slog.Warn("cannot leave the leg of an endpoint that has ended", log.KeyConn, id, log.Err(err))
		}
	}
}
