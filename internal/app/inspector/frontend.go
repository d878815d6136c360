// SPDX-License-Identifier: Apache-2.0

package inspector

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/frontend/process"
	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

// watchEvery is how often Watch looks for changes.
const watchEvery = 200 * time.Millisecond

// FrontendServer implements frontendv1.FrontendServer.
type FrontendServer struct {
	frontendv1.UnimplementedFrontendServer
	states func() []announce.State
	// Now tells the time that states are of; time.Now if not set otherwise.
	Now func() time.Time
}

// NewFrontendServer returns a server over the frontends that run when it is asked.
func NewFrontendServer(states func() []announce.State) *FrontendServer {
	return &FrontendServer{states: states, Now: time.Now}
}

// Register adds the service to a gRPC server.
func (s *FrontendServer) Register(r grpc.ServiceRegistrar) { frontendv1.RegisterFrontendServer(r, s) }

// Show implements frontendv1.FrontendServer.
func (s *FrontendServer) Show(_ context.Context, req *frontendv1.ShowRequest) (*frontendv1.ShowResponse, error) {
	resp := &frontendv1.ShowResponse{Time: timestamppb.New(s.Now())}
	states := s.states()
	slices.SortFunc(states, func(a, b announce.State) int { return cmp.Compare(a.Replica, b.Replica) })
	for _, state := range states {
		if req.GetReplica() == "" || req.GetReplica() == state.Replica {
			resp.Frontends = append(resp.Frontends, toState(state))
		}
	}
	if req.GetReplica() != "" && len(resp.Frontends) == 0 {
		return nil, status.Errorf(codes.NotFound, "replica: there is no replica %q here", req.GetReplica())
	}
	return resp, nil
}

// Watch implements frontendv1.FrontendServer.
func (s *FrontendServer) Watch(req *frontendv1.ShowRequest, stream grpc.ServerStreamingServer[frontendv1.ShowResponse]) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var last *frontendv1.ShowResponse
	for {
		resp, err := s.Show(stream.Context(), req)
		if err != nil {
			return err
		}
		if last == nil || !proto.Equal(&frontendv1.ShowResponse{Frontends: last.Frontends}, &frontendv1.ShowResponse{Frontends: resp.Frontends}) {
			if err := stream.Send(resp); err != nil {
				return err
			}
			last = resp
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func toState(s announce.State) *frontendv1.State {
	st := s.Status
	if s.Problem != "" {
		st.Problem = s.Problem
	}
	st.Gateways = slices.Clone(st.Gateways)
	for name, why := range s.Withheld {
		st.Gateways = append(st.Gateways, frontend.GatewayStatus{Name: name, Reason: why})
	}
	slices.SortFunc(st.Gateways, func(a, b frontend.GatewayStatus) int { return cmp.Compare(a.Name, b.Name) })
	out := &frontendv1.State{
		Replica: s.Replica, Trench: s.Trench, Attractor: s.Attractor, Interface: s.Interface, Netns: s.NetNS,
		Table: uint32(s.Table), Status: process.ToStatus(st),
	}
	for _, g := range out.Status.GetGateways() {
		if s.Withheld[g.GetName()] != "" {
			g.Address = "" // nobody speaks to it
		}
	}
	for _, d := range s.VIPs {
		out.Announcements = append(out.Announcements, &frontendv1.Announcement{
			Vip: d.VIP.String(), Announced: d.Announced, Reason: string(d.Reason), Message: d.Message,
			Since: timestamppb.New(d.Since), Gateways: told(st.Gateways, d.VIP),
		})
	}
	return out
}

// told returns the gateways that a VIP is announced to.
func told(gateways []frontend.GatewayStatus, vip netip.Prefix) []string {
	var names []string
	for _, g := range gateways {
		if g.BGP != nil && slices.Contains(g.BGP.Announced, vip) {
			names = append(names, g.Name)
		}
	}
	return names
}
