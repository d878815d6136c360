// SPDX-License-Identifier: Apache-2.0

package tunnelmech_test

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// preference adds VXLAN to what is offered, as upstream's forwarders do.
type preference struct{}

func (preference) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	request.MechanismPreferences = append(request.MechanismPreferences, remote.Clone())
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (preference) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
