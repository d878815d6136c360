// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/leg"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

type ipamServer struct {
	pool *Pool
}

// NewServer returns the element that gives connections addresses of the pool.
func NewServer(pool *Pool) networkservice.NetworkServiceServer {
	return &ipamServer{pool: pool}
}

func (s *ipamServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	claim, err := s.parse(conn)
	if err != nil {
		return nil, err
	}
	grant, err := s.pool.Claim(claim)
	if err != nil {
		return nil, toStatus(err)
	}
	if grant.News {
		if err := s.pool.Store(); err != nil {
			grant.Undo()
			return nil, status.Error(codes.Unavailable, err.Error())
		}
	}
	s.describe(conn, grant.Addresses, claim.Lease)
	answer, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		grant.Undo() // a connection that was there before keeps what it had
		return nil, err
	}
	store(ctx)
	return answer, nil
}

func (s *ipamServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	answer, err := next.Server(ctx).Close(ctx, conn)
	if loadAndDelete(ctx) {
		s.pool.Release(leg.InterfaceName(conn.GetId()), vacate.Vacated(ctx))
	}
	return answer, err
}

func toStatus(err error) error {
	var taken *TakenError
	switch {
	case errors.As(err, &taken):
		return status.Errorf(codes.AlreadyExists, "src_ip_addrs: %v", err)
	case errors.Is(err, ErrExhausted):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return err
}

// parse reads what a connection wants. The addresses in its context are what the
// client insists on, unless they came with the answer of this replica before.
//
// A connection is known to the pool by the name of its leg interface, by which
// it is found again after a restart.
func (s *ipamServer) parse(conn *networkservice.Connection) (Claim, error) {
	owner, err := extracontext.Target(conn)
	if err != nil {
		return Claim{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if owner == "" {
		owner = conn.GetId()
	}
	ip := conn.GetContext().GetIpContext()
	want, err := addresses(ip.GetSrcIpAddrs())
	if err != nil {
		return Claim{}, status.Errorf(codes.InvalidArgument, "src_ip_addrs: %v", err)
	}
	given, err := addresses(ip.GetDstIpAddrs())
	if err != nil {
		return Claim{}, status.Errorf(codes.InvalidArgument, "dst_ip_addrs: %v", err)
	}
	exclude, err := prefixes(ip.GetExcludedPrefixes())
	if err != nil {
		return Claim{}, status.Errorf(codes.InvalidArgument, "excluded_prefixes: %v", err)
	}
	insist := !slices.ContainsFunc(s.pool.Own(), func(own netip.Addr) bool { return slices.Contains(given, own) })
	return Claim{
		Owner: owner, User: leg.InterfaceName(conn.GetId()), Want: want, Insist: insist, Exclude: exclude,
		Lease: leaseOf(conn, time.Now()),
	}, nil
}

// leaseOf is the time that the connection lives without another Request: until
// the token of whoever asks ends, but not longer than this endpoint's own. Both
// are of the wall clock: when that has jumped, or the other one's is wrong, the
// own token tells, which has just been made. Without tokens there is no lease.
func leaseOf(conn *networkservice.Connection, now time.Time) time.Duration {
	own := time.Duration(0)
	if expires := currentSegment(conn).GetExpires(); expires != nil {
		own = expires.AsTime().Sub(now)
	}
	if expires := conn.GetPrevPathSegment().GetExpires(); expires != nil {
		if left := expires.AsTime().Sub(now); left > 0 && (left < own || own <= 0) {
			return max(left, time.Second)
		}
	}
	if own <= 0 {
		return 0
	}
	return max(own, time.Second)
}

func currentSegment(conn *networkservice.Connection) *networkservice.PathSegment {
	path := conn.GetPath()
	if int(path.GetIndex()) >= len(path.GetPathSegments()) {
		return nil
	}
	return path.GetPathSegments()[path.GetIndex()]
}

// describe writes addresses and lease into the connection's context: the workload's leg
// addresses, the replica's own, and the routes between them. What was there
// before, of an earlier answer or of another replica, goes.
func (s *ipamServer) describe(conn *networkservice.Connection, addrs []netip.Addr, lease time.Duration) {
	if conn.Context == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	if conn.Context.IpContext == nil {
		conn.Context.IpContext = &networkservice.IPContext{}
	}
	ip := conn.Context.IpContext
	ip.SrcIpAddrs, ip.DstIpAddrs, ip.SrcRoutes, ip.DstRoutes = nil, nil, nil, nil
	for i, own := range s.pool.Own() {
		src, dst := host(addrs[i]), host(own)
		ip.SrcIpAddrs = append(ip.SrcIpAddrs, src)
		ip.DstIpAddrs = append(ip.DstIpAddrs, dst)
		ip.SrcRoutes = append(ip.SrcRoutes, &networkservice.Route{Prefix: dst})
		ip.DstRoutes = append(ip.DstRoutes, &networkservice.Route{Prefix: src})
	}
	delete(conn.Context.ExtraContext, extracontext.LeaseKey) // of another replica
	if lease > 0 {
		extracontext.SetLease(conn, lease)
	}
}

func host(addr netip.Addr) string { return netip.PrefixFrom(addr, addr.BitLen()).String() }

// addresses parses addresses with or without a prefix length.
func addresses(values []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, value := range values {
		prefix, err := netip.ParsePrefix(value)
		if err == nil {
			addrs = append(addrs, prefix.Addr())
			continue
		}
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a prefix", value)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

func prefixes(values []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, value := range values {
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			return nil, fmt.Errorf("%q is not a prefix", value)
		}
		parsed = append(parsed, prefix.Masked())
	}
	return parsed, nil
}
