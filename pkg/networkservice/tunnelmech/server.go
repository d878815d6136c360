// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/stitch"
)

type server struct{ Config }

// NewServer returns the element for the client's side. It also releases what
// NewClient of the same chain has taken.
func NewServer(config Config) networkservice.NetworkServiceServer { return &server{config} }

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	before, endpointBefore := load(ctx, false), load(ctx, true)
	now, err := s.choose(ctx, request)
	if err != nil {
		return nil, err
	}
	id := request.GetConnection().GetId()
	if now.params != nil {
		request.GetConnection().Mechanism = now.params.mechanism()
		lower(request.GetConnection(), now.mtu)
		store(ctx, false, now)
	} else {
		remove(ctx, false)
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		if before.params == nil && endpointBefore.params == nil {
			// The first Request, as far as this process knows; what an earlier one
			// had made keeps its VNI for as long as its leg is there.
			if releaseErr := s.release(ctx, id, now, load(ctx, true)); releaseErr != nil {
				err = errors.Join(err, releaseErr)
			}
			return nil, err
		}
		restore(ctx, false, before)
		restore(ctx, true, endpointBefore)
		return nil, err
	}
	if now.params != nil {
		lower(conn, now.mtu)
	}
	if before.params != nil && now.params == nil {
		s.VNIs.ReleaseVNI(id)
	}
	if err := s.leaveUnused(id, before, endpointBefore, now, load(ctx, true)); err != nil {
		return nil, err
	}
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	client, endpoint := load(ctx, false), load(ctx, true)
	_, err := next.Server(ctx).Close(ctx, conn)
	if err := errors.Join(err, s.release(ctx, conn.GetId(), client, endpoint)); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// release gives everything back that the connection holds.
func (s *server) release(ctx context.Context, id string, client, endpoint state) error {
	remove(ctx, false)
	remove(ctx, true)
	if client.params != nil {
		s.VNIs.ReleaseVNI(id)
	}
	return s.leaveUnused(id, client, endpoint, state{}, state{})
}

// leaveUnused leaves the encryption when neither side goes through it any more.
func (s *server) leaveUnused(id string, before, endpointBefore, now, endpointNow state) error {
	encrypts := func(states ...state) bool {
		return slices.ContainsFunc(states, func(s state) bool { return s.params != nil && s.params.kind == wireguard.MECHANISM })
	}
	if !encrypts(before, endpointBefore) || encrypts(now, endpointNow) {
		return nil
	}
	if err := s.Encrypted.Leave(id); err != nil {
		return fmt.Errorf("leave the encrypted tunnel: %w", err)
	}
	return nil
}

// choose takes the connection's mechanism or the first offer that can be served.
// The state is empty when the client is on this node.
func (s *server) choose(ctx context.Context, request *networkservice.NetworkServiceRequest) (state, error) {
	conn := request.GetConnection()
	if conn.GetMechanism().GetType() == kernel.MECHANISM {
		return state{}, nil
	}
	offers := request.GetMechanismPreferences()
	if m := conn.GetMechanism(); m != nil {
		offers = []*networkservice.Mechanism{m}
	}
	policy, err := policyOf(ctx, conn, s.Policy)
	if err != nil {
		return state{}, status.Error(codes.FailedPrecondition, err.Error())
	}
	var types []string
	var problems []error
	code := codes.InvalidArgument // until an offer can at least be understood
	for _, offer := range offers {
		types = append(types, offer.GetType())
		if !isRemote(offer.GetType()) {
			continue
		}
		chosen, err := s.accept(ctx, conn, offer, policy)
		if err == nil {
			return chosen, nil
		}
		code = codeOf(err, code)
		problems = append(problems, fmt.Errorf("%s: %s", offer.GetType(), status.Convert(err).Message()))
	}
	if len(problems) == 0 {
		return state{}, status.Errorf(codes.InvalidArgument, "mechanism preferences %q: want %s, VXLAN or WIREGUARD", types, kernel.MECHANISM)
	}
	return state{}, status.Error(code, errors.Join(problems...).Error())
}

// accept completes an offer with this node's parameters and a VNI.
func (s *server) accept(ctx context.Context, conn *networkservice.Connection, offer *networkservice.Mechanism, policy Policy) (_ state, err error) {
	p, err := parse(offer)
	if err != nil {
		return state{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if !p.src.addr.IsValid() {
		return state{}, status.Error(codes.InvalidArgument, "mechanism parameter src_ip: is missing")
	}
	if !policy.accepts(p.kind) {
		return state{}, refuse("the network service %s requires %s", conn.GetNetworkService(), policy.offers()[0])
	}
	if p.dst, err = s.self(p.kind); err != nil {
		return state{}, err
	}
	w, err := s.path(ctx, conn.GetId(), p.kind, p.dst, p.src)
	if err != nil {
		return state{}, err
	}
	defer func() {
		if err != nil && p.kind == wireguard.MECHANISM && load(ctx, false).params == nil {
			err = errors.Join(err, s.Encrypted.Leave(conn.GetId()))
		}
	}()
	w.tunnel.Signals = p.src.weft
	if p.vni, err = s.reserve(conn.GetId(), w.tunnel, p.vni); err != nil {
		return state{}, err
	}
	w.tunnel.VNI = p.vni
	return state{tunnel: &w.tunnel, former: w.former, params: p, mtu: w.mtu}, nil
}

// reserve prefers the VNI that the other node knows. When it has become another
// connection's, the other node gets to know a new one.
func (s *server) reserve(id string, t stitch.Tunnel, want uint32) (uint32, error) {
	vni, err := s.VNIs.ReserveVNI(id, t, want)
	if err != nil && want != 0 && errors.Is(err, stitch.ErrTunnelTaken) {
		vni, err = s.VNIs.ReserveVNI(id, t, 0)
	}
	if err != nil {
		return 0, status.Error(codes.ResourceExhausted, err.Error())
	}
	return vni, nil
}

func refuse(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

func codeOf(err error, otherwise codes.Code) codes.Code {
	if code := status.Code(err); code != codes.Unknown {
		return code
	}
	return otherwise
}

// lower bounds the connection's MTU; 0 is no opinion.
func lower(conn *networkservice.Connection, mtu int) {
	if mtu <= 0 {
		return
	}
	if conn.Context == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	if has := conn.Context.MTU; has == 0 || int(has) > mtu {
		conn.Context.MTU = uint32(mtu)
	}
}
