// SPDX-License-Identifier: Apache-2.0

package unheard

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// closeTimeout bounds a Close that nobody waits for.
const closeTimeout = 15 * time.Second

type wrapped struct {
	endpoint.Endpoint
	name string
}

// Wrap returns the chain of that name in the path.
func Wrap(name string, e endpoint.Endpoint) endpoint.Endpoint { return &wrapped{e, name} }

// Register registers this server where the SDK's would register itself.
func (w *wrapped) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, w)
	networkservice.RegisterNetworkServiceServer(s, w)
	networkservice.RegisterMonitorConnectionServer(s, w)
}

func (w *wrapped) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	fresh := identify(request.GetConnection(), w.name)
	conn, err := w.Endpoint.Request(ctx, request)
	if err != nil || !fresh || ctx.Err() == nil {
		return conn, err
	}
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_, closeErr := w.Endpoint.Close(closeCtx, conn.Clone())
	gone := status.FromContextError(ctx.Err())
	if closeErr != nil {
		return nil, status.Errorf(gone.Code(), "%s: connected when nobody waited any more; close: %v", gone.Message(), closeErr)
	}
	return nil, status.Errorf(gone.Code(), "%s: connected when nobody waited any more, and closed again", gone.Message())
}

func (w *wrapped) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	identify(conn, w.name)
	return w.Endpoint.Close(ctx, conn)
}

// identify gives a connection that comes without an ID of this hop the one that
// it has in any case. The SDK would choose one at random.
func identify(conn *networkservice.Connection, name string) (fresh bool) {
	path := conn.GetPath()
	segments, index := path.GetPathSegments(), int(path.GetIndex())
	if index >= len(segments) || segments[index].GetName() == name {
		return false
	}
	if index+1 < len(segments) && segments[index+1].GetName() == name {
		return false
	}
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(segments[index].GetId()+"/"+name)).String()
	if index+1 < len(segments) { // the hop has moved
		segments[index+1].Name, segments[index+1].Id = name, id
		return true
	}
	path.PathSegments = append(segments, &networkservice.PathSegment{Name: name, Id: id})
	return true
}

type server struct{}

// NewServer returns the element that has nothing to close when nothing was passed
// on.
func NewServer() networkservice.NetworkServiceServer { return server{} }

func (server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return next.Server(ctx).Request(ctx, request)
}

func (server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if path := conn.GetPath(); int(path.GetIndex())+1 >= len(path.GetPathSegments()) {
		return &emptypb.Empty{}, nil
	}
	return next.Server(ctx).Close(ctx, conn)
}
