// SPDX-License-Identifier: Apache-2.0

package kernelmech

import (
	"context"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type server struct{}

// NewServer returns the element for the client's side.
func NewServer() networkservice.NetworkServiceServer { return server{} }

func (server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if request.GetConnection().GetMechanism() == nil {
		preferences := request.GetMechanismPreferences()
		chosen := slices.IndexFunc(preferences, func(m *networkservice.Mechanism) bool { return m.GetType() == kernel.MECHANISM })
		if chosen < 0 {
			return next.Server(ctx).Request(ctx, request)
		}
		request.GetConnection().Mechanism = preferences[chosen].Clone()
	}
	if m := request.GetConnection().GetMechanism(); m.GetType() == kernel.MECHANISM {
		if err := validate(m); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	return next.Server(ctx).Request(ctx, request)
}

func (server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
