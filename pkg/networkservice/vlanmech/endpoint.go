// SPDX-License-Identifier: Apache-2.0

package vlanmech

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

type endpointServer struct {
	base string
	id   int
}

// NewEndpointServer returns the element of an endpoint whose clients are in a VLAN
// of a base interface of their nodes.
func NewEndpointServer(base string, id int) networkservice.NetworkServiceServer {
	return &endpointServer{base, id}
}

func (s *endpointServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	offers := request.GetMechanismPreferences()
	if conn.GetMechanism() != nil {
		offers = []*networkservice.Mechanism{conn.GetMechanism()}
	}
	chosen := slices.IndexFunc(offers, func(m *networkservice.Mechanism) bool {
		return m.GetType() == vlan.MECHANISM && m.GetCls() == cls.REMOTE
	})
	if chosen < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "mechanism: want %s, which this forwarder does not offer", vlan.MECHANISM)
	}
	conn.Mechanism = &networkservice.Mechanism{
		Cls: cls.REMOTE, Type: vlan.MECHANISM,
		Parameters: map[string]string{vlan.ID: strconv.Itoa(s.id), BaseInterface: s.base},
	}
	return next.Server(ctx).Request(ctx, request)
}

func (s *endpointServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

type addressServer struct{ pool *addresses.Pool }

// NewAddressServer returns the element that gives connections addresses of the
// pool.
func NewAddressServer(pool *addresses.Pool) networkservice.NetworkServiceServer {
	return &addressServer{pool}
}

func (s *addressServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	owner, err := extracontext.Target(conn)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if owner == "" {
		owner = conn.GetId()
	}
	var had []netip.Prefix // as this or an earlier process has answered
	for _, text := range conn.GetContext().GetIpContext().GetSrcIpAddrs() {
		if p, err := netip.ParsePrefix(text); err == nil {
			had = append(had, p)
		}
	}
	given, fresh, err := s.pool.Take(owner, conn.GetId(), had)
	if errors.Is(err, addresses.ErrExhausted) {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if conn.Context == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	conn.Context.IpContext = &networkservice.IPContext{ExcludedPrefixes: conn.GetContext().GetIpContext().GetExcludedPrefixes()}
	for _, p := range given {
		conn.Context.IpContext.SrcIpAddrs = append(conn.Context.IpContext.SrcIpAddrs, p.String())
	}
	answer, err := next.Server(ctx).Request(ctx, request)
	if err != nil && fresh {
		err = errors.Join(err, s.pool.Release(conn.GetId()))
	}
	return answer, err
}

func (s *addressServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	answer, err := next.Server(ctx).Close(ctx, conn)
	return answer, errors.Join(err, s.pool.Release(conn.GetId()))
}
