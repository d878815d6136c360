// SPDX-License-Identifier: Apache-2.0

package orphan

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Orphanage knows the connections of a chain.
type Orphanage struct {
	name  string
	close networkservice.NetworkServiceServer

	mu    sync.Mutex
	known map[string]int // id -> Requests under way, plus one when established
	live  map[string]bool
}

// New returns an orphanage for the chain of that name in the path; elements are
// the chain for orphans.
func New(name string, elements ...networkservice.NetworkServiceServer) *Orphanage {
	return &Orphanage{
		name: name,
		close: chain.NewNetworkServiceServer(append([]networkservice.NetworkServiceServer{
			updatepath.NewServer(name), metadata.NewServer(),
		}, elements...)...),
		known: map[string]int{}, live: map[string]bool{},
	}
}

// knows reports whether the chain has, or is about to have, a connection.
func (o *Orphanage) knows(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known[id] > 0 || o.live[id]
}

func (o *Orphanage) begin(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known[id]++
}

func (o *Orphanage) end(id string, established bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known[id]--; o.known[id] == 0 {
		delete(o.known, id)
	}
	if established {
		o.live[id] = true
	}
}

func (o *Orphanage) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.live, id)
}

// Wrap returns the chain with orphans taken care of.
func (o *Orphanage) Wrap(e endpoint.Endpoint) endpoint.Endpoint { return &wrapped{e, o} }

type wrapped struct {
	endpoint.Endpoint
	orphans *Orphanage
}

// Register registers this server where the SDK's would register itself.
func (w *wrapped) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, w)
	networkservice.RegisterNetworkServiceServer(s, w)
	networkservice.RegisterMonitorConnectionServer(s, w)
}

func (w *wrapped) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	id := w.orphans.idOf(conn)
	if id == "" || w.orphans.knows(id) {
		return w.Endpoint.Close(ctx, conn)
	}
	return w.orphans.close.Close(ctx, conn.Clone())
}

// idOf returns the id of a connection in this chain, "" when it has never passed.
func (o *Orphanage) idOf(conn *networkservice.Connection) string {
	segments, index := conn.GetPath().GetPathSegments(), int(conn.GetPath().GetIndex())
	for _, i := range []int{index, index + 1} {
		if i < len(segments) && segments[i].GetName() == o.name {
			return segments[i].GetId()
		}
	}
	return ""
}

// NewServer returns the element that notes which connections the chain has.
func (o *Orphanage) NewServer() networkservice.NetworkServiceServer { return &server{o} }

type server struct{ *Orphanage }

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	s.begin(id)
	conn, err := next.Server(ctx).Request(ctx, request)
	s.end(id, err == nil)
	return conn, err
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.forget(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}
