// SPDX-License-Identifier: Apache-2.0

package nselabel

import (
	"context"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/grpc"
)

// GraceLabel asks to be taken for alive for a duration (such as 30s) after the
// endpoint's process has ended, because its data path goes on.
const GraceLabel = "weft.dev/restart-grace"

// Grace returns the longest duration that the labels of an endpoint ask for.
func Grace(nse *registry.NetworkServiceEndpoint) time.Duration {
	var longest time.Duration
	for _, labels := range nse.GetNetworkServiceLabels() {
		longest = max(longest, grace(labels.GetLabels()))
	}
	return longest
}

func grace(labels map[string]string) time.Duration {
	d, err := time.ParseDuration(labels[GraceLabel])
	if err != nil {
		return 0
	}
	return d
}

// GraceOf returns what the endpoint of a connection asks for.
func GraceOf(ctx context.Context, conn *networkservice.Connection) time.Duration {
	return grace(Of(ctx, conn))
}

// Of returns the labels that the endpoint of a connection has for its network
// service, as they were found last.
func Of(ctx context.Context, conn *networkservice.Connection) map[string]string {
	value, ok := metadata.Map(ctx, false).Load(key{})
	if !ok {
		return nil
	}
	value, ok = value.(*sync.Map).Load(conn.GetNetworkServiceEndpointName())
	if !ok {
		return nil
	}
	return value.(map[string]*registry.NetworkServiceLabels)[conn.GetNetworkService()].GetLabels()
}

// Record returns a client that notes the labels of the endpoints that are found
// with it for a connection.
func Record(client registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient {
	return &recorder{client}
}

type recorder struct {
	registry.NetworkServiceEndpointRegistryClient
}

func (r *recorder) Find(ctx context.Context, query *registry.NetworkServiceEndpointQuery, opts ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	stream, err := r.NetworkServiceEndpointRegistryClient.Find(ctx, query, opts...)
	if err != nil {
		return nil, err
	}
	known, _ := metadata.Map(ctx, false).LoadOrStore(key{}, &sync.Map{})
	return &recording{stream, known.(*sync.Map)}, nil
}

type key struct{}

type recording struct {
	registry.NetworkServiceEndpointRegistry_FindClient
	known *sync.Map // endpoint name -> map[string]*registry.NetworkServiceLabels
}

func (r *recording) Recv() (*registry.NetworkServiceEndpointResponse, error) {
	response, err := r.NetworkServiceEndpointRegistry_FindClient.Recv()
	if nse := response.GetNetworkServiceEndpoint(); err == nil && !response.GetDeleted() {
		r.known.Store(nse.GetName(), nse.GetNetworkServiceLabels())
	}
	return response, err
}
