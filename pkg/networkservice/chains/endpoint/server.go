// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	sdk "github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/onidle"
	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/ipam"
	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/leg"
	"github.com/weft-project/weft/pkg/networkservice/loadbalancer"
	"github.com/weft-project/weft/pkg/networkservice/monitor"
	"github.com/weft-project/weft/pkg/networkservice/pathid"
	"github.com/weft-project/weft/pkg/networkservice/unheard"
)

// Config of the chain.
type Config struct {
	Name           string // of the endpoint, and in the path of connections
	TokenGenerator token.GeneratorFunc
	NetNS          string // path of the namespace that gets the legs, "" = the process's own
	Pool           *ipam.Pool
	Balancer       loadbalancer.Balancer
	MTU            uint32        // of connections, 0 = the client's
	IdleTimeout    time.Duration // after which OnIdle is called, 0 = never
	OnIdle         func()
	Additional     []networkservice.NetworkServiceServer // behind the last element
}

// NewServer returns the chain; it works until ctx ends.
//
// The SDK's elements come first (path, begin, token, authorization, metadata,
// timeout, monitor). Then, on the way to the endpoint's end, each may undo what
// follows it: descriptors are sent when the answer is complete; the target is
// registered last, when its interface and addresses are known, and unregistered
// first.
func NewServer(ctx context.Context, config Config) sdk.Endpoint {
	hub := monitor.New(ctx)
	elements := []networkservice.NetworkServiceServer{
		hub.NewServer(),
		isolate.NewServer(),
		onidle.NewServer(ctx, config.OnIdle, config.IdleTimeout),
		fd.NewAnswerServer(),
		loadbalancer.NewServer(ctx, config.Name, config.Balancer, loadbalancer.WithMTU(config.MTU)),
		leg.NewServer(config.NetNS),
		ipam.NewServer(config.Pool),
	}
	return unheard.Wrap(config.Name, pathid.Wrap(config.Name, hub.Wrap(sdk.NewServer(ctx, config.TokenGenerator,
		sdk.WithName(config.Name),
		sdk.WithAdditionalFunctionality(append(elements, config.Additional...)...),
	))))
}
