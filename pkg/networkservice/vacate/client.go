// SPDX-License-Identifier: Apache-2.0

package vacate

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

type vacateClient struct{}

// NewClient returns the element that passes the word on to the next hop.
func NewClient() networkservice.NetworkServiceClient { return vacateClient{} }

func (vacateClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (vacateClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if Vacated(ctx) {
		ctx = metadata.AppendToOutgoingContext(ctx, header, left)
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}
