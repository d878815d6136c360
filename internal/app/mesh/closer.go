// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// anyForwarder passes a Close whose path does not say which forwarder had the
// Request, because its client was killed before it was told, to every one of
// this node.
type anyForwarder struct {
	networkservice.NetworkServiceServer // for a Close whose path does
	endpoints                           registryapi.NetworkServiceEndpointRegistryClient
}

func (a anyForwarder) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if path := conn.GetPath(); int(path.GetIndex())+1 < len(path.GetPathSegments()) {
		return a.NetworkServiceServer.Close(ctx, conn)
	}
	looking, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	stream, err := a.endpoints.Find(looking, &registryapi.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registryapi.NetworkServiceEndpoint{NetworkServiceNames: []string{forwarderService}},
	})
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "find the forwarders: %v", err)
	}
	forwarders := registryapi.ReadNetworkServiceEndpointList(stream)
	if len(forwarders) == 0 {
		return next.Server(ctx).Close(ctx, conn) // says that there is none
	}
	var errs []error
	for _, forwarder := range forwarders {
		u, err := url.Parse(forwarder.GetUrl())
		if err == nil {
			_, err = next.Server(ctx).Close(clienturlctx.WithClientURL(ctx, u), conn.Clone())
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
