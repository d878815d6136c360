// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/protobuf/types/known/emptypb"
)

// NewServer returns the element that notes connections before their clients
// have the answer. The event of the SDK's server, which follows, may come later
// than the client's call for a monitor: one that did not find its connection
// would take it for lost.
func (h *Hub) NewServer() networkservice.NetworkServiceServer { return &server{h} }

type server struct{ hub *Hub }

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err == nil {
		clone := conn.Clone()
		s.hub.mu.Lock()
		s.hub.keep(clone)
		s.hub.mu.Unlock()
	}
	return conn, err
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
