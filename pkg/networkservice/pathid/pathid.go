// SPDX-License-Identifier: Apache-2.0

package pathid

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

type wrapped struct {
	endpoint.Endpoint
	name string
}

// Wrap returns the chain of that name in the path with derived ids.
func Wrap(name string, e endpoint.Endpoint) endpoint.Endpoint {
	return &wrapped{Endpoint: e, name: name}
}

// Register registers this server where the chain would register itself.
func (w *wrapped) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, w)
	networkservice.RegisterNetworkServiceServer(s, w)
	networkservice.RegisterMonitorConnectionServer(s, w)
}

func (w *wrapped) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if conn := request.GetConnection(); w.isNew(conn) {
		request = request.Clone()
		w.extend(request.GetConnection())
	}
	return w.Endpoint.Request(ctx, request)
}

func (w *wrapped) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if w.isNew(conn) {
		conn = conn.Clone()
		w.extend(conn)
	}
	return w.Endpoint.Close(ctx, conn)
}

func (w *wrapped) isNew(conn *networkservice.Connection) bool { return IsNew(w.name, conn) }

// IsNew reports whether the connection comes from a previous hop and has no
// segment of the chain of that name.
func IsNew(name string, conn *networkservice.Connection) bool {
	segments, index := conn.GetPath().GetPathSegments(), int(conn.GetPath().GetIndex())
	if index >= len(segments) || segments[index].GetName() == name || segments[index].GetId() == "" {
		return false
	}
	return index+1 == len(segments) || segments[index+1].GetName() != name
}

func (w *wrapped) extend(conn *networkservice.Connection) {
	path := conn.GetPath()
	next := int(path.GetIndex()) + 1
	if next == len(path.GetPathSegments()) {
		path.PathSegments = append(path.PathSegments, &networkservice.PathSegment{})
	}
	segment := path.PathSegments[next]
	segment.Name, segment.Id = w.name, derive(path.PathSegments[next-1].GetId(), w.name)
}

func derive(previous, name string) string {
	sum := sha256.Sum256([]byte(previous + "\x00" + name))
	return hex.EncodeToString(sum[:16])
}
