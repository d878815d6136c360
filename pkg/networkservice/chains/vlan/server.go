// SPDX-License-Identifier: Apache-2.0

// Package vlan is the chain of an endpoint whose clients are in a VLAN: the order
// of its elements and nothing else.
package vlan

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	sdk "github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/pkg/networkservice/isolate"
	"github.com/weft-project/weft/pkg/networkservice/monitor"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// Config of the chain.
type Config struct {
	Name           string // of the endpoint, and in the path of connections
	TokenGenerator token.GeneratorFunc
	Base           string // interface of the clients' nodes
	VLAN           int    // 0: untagged
	Pool           *addresses.Pool
}

// NewServer returns the chain; it works until ctx ends. The SDK's elements come
// first (path, begin, token, authorization, metadata, timeout, monitor).
func NewServer(ctx context.Context, config Config) sdk.Endpoint {
	hub := monitor.New(ctx)
	return hub.Wrap(sdk.NewServer(ctx, config.TokenGenerator,
		sdk.WithName(config.Name),
		sdk.WithAdditionalFunctionality([]networkservice.NetworkServiceServer{
			hub.NewServer(),
			isolate.NewServer(),
			vlanmech.NewEndpointServer(config.Base, config.VLAN),
			vlanmech.NewAddressServer(config.Pool),
		}...),
	))
}
