// SPDX-License-Identifier: Apache-2.0

package unheard

import (
	"context"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/pkg/networkservice/pathid"
)

// closeTimeout bounds a Close that nobody waits for.
const closeTimeout = 15 * time.Second

type wrapped struct {
	endpoint.Endpoint
	name    string
	callers callers
}

// Wrap returns the chain of that name in the path. What it wraps derives ids, as
// pathid does.
func Wrap(name string, e endpoint.Endpoint) endpoint.Endpoint {
	return &wrapped{Endpoint: e, name: name}
}

// Register registers this server where the SDK's would register itself.
func (w *wrapped) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, w)
	networkservice.RegisterNetworkServiceServer(s, w)
	networkservice.RegisterMonitorConnectionServer(s, w)
}

func (w *wrapped) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	fresh, id := pathid.IsNew(w.name, request.GetConnection()), idOf(request.GetConnection())
	if err := w.callers.enter(ctx, id); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	defer w.callers.leave(id)
	conn, err := w.Endpoint.Request(ctx, request)
	if err != nil || !fresh || ctx.Err() == nil {
		return conn, err
	}
	if !w.callers.alone(id) {
		return nil, status.FromContextError(ctx.Err()).Err() // who asks again gets it
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_, closeErr := w.Close(closeCtx, conn.Clone())
	gone := status.FromContextError(ctx.Err())
	if closeErr != nil {
		return nil, status.Errorf(gone.Code(), "%s: connected when nobody waited any more; close: %v", gone.Message(), closeErr)
	}
	return nil, status.Errorf(gone.Code(), "%s: connected when nobody waited any more, and closed again", gone.Message())
}
