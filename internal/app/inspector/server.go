// SPDX-License-Identifier: Apache-2.0

package inspector

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/inspect"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Limits of a request.
const (
	maxFrames  = 1000
	maxFrame   = 65535 + 22 // an IP packet with an Ethernet header and two tags
	minFrame   = 14
	mismatches = 20 // named unless the request says otherwise
)

// Server implements balancerv1.BalancerServer.
type Server struct {
	balancerv1.UnimplementedBalancerServer
	replicas func() []inspect.Replica
	// Now tells the time that statistics are of; time.Now if not set otherwise.
	Now func() time.Time
}

// NewServer returns a server over the replicas that run when it is asked.
func NewServer(replicas func() []inspect.Replica) *Server {
	return &Server{replicas: replicas, Now: time.Now}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { balancerv1.RegisterBalancerServer(r, s) }

func (s *Server) sorted() []inspect.Replica {
	list := slices.Clone(s.replicas())
	slices.SortFunc(list, func(a, b inspect.Replica) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// choose returns the named replica, or all for "".
func (s *Server) choose(name string) ([]inspect.Replica, error) {
	list := s.sorted()
	if name == "" {
		return list, nil
	}
	for _, r := range list {
		if r.Name == name {
			return []inspect.Replica{r}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "replica: there is no replica %q here", name)
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// toStatus maps an error of the engine, whose only cause is the data plane.
func toStatus(err error) error {
	if errors.Is(err, lb.ErrObserved) {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	if st := status.FromContextError(err); st.Code() != codes.Unknown {
		return st.Err()
	}
	return status.Error(codes.Internal, err.Error())
}

// List implements balancerv1.BalancerServer.
func (s *Server) List(context.Context, *balancerv1.ListRequest) (*balancerv1.ListResponse, error) {
	resp := &balancerv1.ListResponse{}
	for _, r := range s.sorted() {
		resp.Replicas = append(resp.Replicas, toReplica(r))
	}
	return resp, nil
}

// Statistics implements balancerv1.BalancerServer.
func (s *Server) Statistics(_ context.Context, req *balancerv1.StatisticsRequest) (*balancerv1.StatisticsResponse, error) {
	replicas, err := s.choose(req.GetReplica())
	if err != nil {
		return nil, err
	}
	resp := &balancerv1.StatisticsResponse{Time: timestamppb.New(s.Now())}
	for _, r := range replicas {
		statistics, err := r.Statistics()
		if err != nil {
			return nil, toStatus(err)
		}
		resp.Replicas = append(resp.Replicas, toStatistics(r.Name, statistics))
	}
	return resp, nil
}

// Trace implements balancerv1.BalancerServer.
func (s *Server) Trace(ctx context.Context, req *balancerv1.TraceRequest) (*balancerv1.TraceResponse, error) {
	if req.GetReplica() == "" {
		return nil, invalid("replica: is needed")
	}
	replicas, err := s.choose(req.GetReplica())
	if err != nil {
		return nil, err
	}
	if n := len(req.GetFrames()); n == 0 || n > maxFrames {
		return nil, invalid("frames: %d frames are not within 1 to %d", n, maxFrames)
	}
	for i, frame := range req.GetFrames() {
		if len(frame) < minFrame || len(frame) > maxFrame {
			return nil, invalid("frames[%d]: %d bytes are not within %d to %d", i, len(frame), minFrame, maxFrame)
		}
	}
	limit := int(req.GetMaxMismatches())
	if limit == 0 {
		limit = mismatches
	}
	resp := &balancerv1.TraceResponse{Replica: toReplica(replicas[0])}
	for _, frame := range req.GetFrames() {
		d, err := replicas[0].Trace(ctx, frame, req.GetReply())
		if err != nil {
			return nil, toStatus(err)
		}
		resp.Decisions = append(resp.Decisions, toDecision(d, limit))
	}
	return resp, nil
}

// Observe implements balancerv1.BalancerServer.
func (s *Server) Observe(req *balancerv1.ObserveRequest, stream balancerv1.Balancer_ObserveServer) error {
	replicas, err := s.choose(req.GetReplica())
	if err != nil {
		return err
	}
	filter, err := toFilter(req)
	if err != nil {
		return err
	}
	// The header tells the caller that what happens from now on is seen.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	err = inspect.Observe(stream.Context(), replicas, filter, func(e inspect.Event) error {
		return stream.Send(toEvent(e))
	})
	if _, ok := status.FromError(err); ok {
		return err
	}
	return toStatus(err)
}

// maxRate bounds the events per second that a caller can ask for.
const maxRate = 1_000_000

func toFilter(req *balancerv1.ObserveRequest) (f lb.Filter, err error) {
	if f.Src, err = toPrefix("source", req.GetSource()); err != nil {
		return f, err
	}
	if f.Dst, err = toPrefix("destination", req.GetDestination()); err != nil {
		return f, err
	}
	if f.Src.IsValid() && f.Dst.IsValid() && f.Src.Addr().Is4() != f.Dst.Addr().Is4() {
		return f, invalid("destination: %s is not of the IP version of source %s", f.Dst, f.Src)
	}
	if name := req.GetProtocol(); name != "" {
		if f.Protocol, err = inspect.ParseProtocol(name); err != nil {
			return f, invalid("protocol: %v", err)
		}
	}
	if req.GetPort() > 65535 {
		return f, invalid("port: %d is not within 1 to 65535", req.GetPort())
	}
	if f.Reasons, err = inspect.ParseReasons(req.GetReasons()); err != nil {
		return f, invalid("%v", err)
	}
	if req.GetRate() > maxRate {
		return f, invalid("rate: %d events per second are not within 1 to %d", req.GetRate(), maxRate)
	}
	f.Port, f.Rate, f.Sample = uint16(req.GetPort()), int(req.GetRate()), req.GetSample()
	return f, nil
}

// toPrefix takes a prefix or an address.
func toPrefix(field, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, addrErr := netip.ParseAddr(s)
		if addrErr != nil || a.Zone() != "" {
			return p, invalid("%s: %q is neither a prefix nor an address", field, s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return p, invalid("%s: %q is an IPv4 address in IPv6 form", field, s)
	}
	return p.Masked(), nil
}
