// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"io"
	"net/url"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// finder is a registry and the stream that it answers with.
type finder struct {
	registry.NetworkServiceEndpointRegistryClient
	grpc.ClientStream
	names []string
	err   error
}

func (f *finder) Find(context.Context, *registry.NetworkServiceEndpointQuery, ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	return f, f.err
}

func (f *finder) Recv() (*registry.NetworkServiceEndpointResponse, error) {
	if len(f.names) == 0 {
		return nil, io.EOF
	}
	name := f.names[0]
	f.names = f.names[1:]
	return &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name}}, nil
}

type closes struct {
	networkservice.NetworkServiceServer
	n int
}

func (c *closes) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	c.n++
	return &emptypb.Empty{}, nil
}

// A Close without a way to the endpoint succeeds only where there is no endpoint.
func TestGone(t *testing.T) {
	for name, c := range map[string]struct {
		registry finder
		url      bool
		failing  bool
	}{
		"way is known":     {registry: finder{err: errors.New("down")}, url: true},
		"gone":             {},
		"others are there": {registry: finder{names: []string{"lb-10"}}},
		"registry is down": {registry: finder{err: errors.New("down")}, failing: true},
		"is there":         {registry: finder{names: []string{"lb-1"}}, failing: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, next := t.Context(), &closes{}
			if c.url {
				ctx = clienturlctx.WithClientURL(ctx, &url.URL{Scheme: "tcp", Host: "192.0.2.1:5001"})
			}
			_, err := gone{next, &c.registry}.Close(ctx, &networkservice.Connection{NetworkServiceEndpointName: "lb-1"})
			if (err != nil) != c.failing || next.n != 1 {
				t.Errorf("%v after %d Closes of ours", err, next.n)
			}
		})
	}
}
