// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
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
	before, held := load(ctx)
	now, err := s.claim(conn)
	if err != nil {
		return nil, err
	}
	store(ctx, now)
	s.describe(conn, now)
	answer, err := next.Server(ctx).Request(ctx, request)
	switch {
	case err != nil:
		// A connection that was there before keeps what it had.
		s.undo(ctx, conn.GetId(), before, held, now)
	case held && before.owner != now.owner:
		s.pool.Release(before.owner, conn.GetId())
	}
	return answer, err
}

func (s *ipamServer) undo(ctx context.Context, id string, before lease, held bool, now lease) {
	if !held || before.owner != now.owner {
		s.pool.Release(now.owner, id)
	}
	loadAndDelete(ctx)
	if !held {
		return
	}
	if addrs, err := s.pool.Claim(before.owner, id, before.addresses, false, nil); err == nil {
		store(ctx, lease{owner: before.owner, addresses: addrs})
	}
}

func (s *ipamServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	answer, err := next.Server(ctx).Close(ctx, conn)
	if l, held := loadAndDelete(ctx); held {
		s.pool.Release(l.owner, conn.GetId())
	}
	return answer, err
}

// claim gets the addresses of a connection. Those in its context are what the
// client insists on, unless they came with the answer of this replica before.
func (s *ipamServer) claim(conn *networkservice.Connection) (lease, error) {
	owner, err := extracontext.Target(conn)
	if err != nil {
		return lease{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if owner == "" {
		owner = conn.GetId()
	}
	ip := conn.GetContext().GetIpContext()
	want, err := addresses(ip.GetSrcIpAddrs())
	if err != nil {
		return lease{}, status.Errorf(codes.InvalidArgument, "src_ip_addrs: %v", err)
	}
	given, err := addresses(ip.GetDstIpAddrs())
	if err != nil {
		return lease{}, status.Errorf(codes.InvalidArgument, "dst_ip_addrs: %v", err)
	}
	exclude, err := prefixes(ip.GetExcludedPrefixes())
	if err != nil {
		return lease{}, status.Errorf(codes.InvalidArgument, "excluded_prefixes: %v", err)
	}
	insist := !slices.ContainsFunc(s.pool.Own(), func(own netip.Addr) bool { return slices.Contains(given, own) })
	addrs, err := s.pool.Claim(owner, conn.GetId(), want, insist, exclude)
	var taken *TakenError
	switch {
	case errors.As(err, &taken):
		return lease{}, status.Errorf(codes.AlreadyExists, "src_ip_addrs: %v", err)
	case errors.Is(err, ErrExhausted):
		return lease{}, status.Error(codes.ResourceExhausted, err.Error())
	case err != nil:
		return lease{}, err
	}
	return lease{owner: owner, addresses: addrs}, nil
}

// describe writes the lease into the connection's context: the workload's leg
// addresses, the replica's own, and the routes between them. What was there
// before, of an earlier answer or of another replica, goes.
func (s *ipamServer) describe(conn *networkservice.Connection, l lease) {
	if conn.Context == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	if conn.Context.IpContext == nil {
		conn.Context.IpContext = &networkservice.IPContext{}
	}
	ip := conn.Context.IpContext
	ip.SrcIpAddrs, ip.DstIpAddrs, ip.SrcRoutes, ip.DstRoutes = nil, nil, nil, nil
	for i, own := range s.pool.Own() {
		src, dst := host(l.addresses[i]), host(own)
		ip.SrcIpAddrs = append(ip.SrcIpAddrs, src)
		ip.DstIpAddrs = append(ip.DstIpAddrs, dst)
		ip.SrcRoutes = append(ip.SrcRoutes, &networkservice.Route{Prefix: dst})
		ip.DstRoutes = append(ip.DstRoutes, &networkservice.Route{Prefix: src})
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
