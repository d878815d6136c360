// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"io"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// gone tells an endpoint that is not there any more, and needs no Close, from one
// that nobody could be asked for: the SDK's discover element goes on without a URL
// in both cases, and what the endpoint has would stay until it expires.
type gone struct {
	networkservice.NetworkServiceServer
	endpoints registry.NetworkServiceEndpointRegistryClient
}

func (g gone) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if clienturlctx.ClientURL(ctx) != nil || conn.GetNetworkServiceEndpointName() == "" {
		return g.NetworkServiceServer.Close(ctx, conn)
	}
	lookErr := g.look(ctx, conn.GetNetworkServiceEndpointName())
	_, err := g.NetworkServiceServer.Close(ctx, conn)
	if err = errors.Join(lookErr, err); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (g gone) look(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	found, err := g.endpoints.Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name},
	})
	for err == nil {
		var response *registry.NetworkServiceEndpointResponse
		if response, err = found.Recv(); err == nil && response.GetNetworkServiceEndpoint().GetName() == name {
			return status.Errorf(codes.Unavailable, "endpoint %s is there, but was not found at first", name)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return status.Errorf(codes.Unavailable, "cannot tell whether endpoint %s is there: %v", name, err)
}
