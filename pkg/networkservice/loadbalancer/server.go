// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"context"
	"errors"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
)

// Balancer is what the element needs of the engine; *balancer.Balancer is one.
type Balancer interface {
	Register(ctx context.Context, target balancer.Target) error
	Unregister(ctx context.Context, connection string) error
	Config() *balancer.Config
	Watch(fn func(streams []string)) (stop func())
}

type loadBalancerServer struct {
	balancer Balancer
	name     string
	mtu      uint32
	live     *live
}

// NewServer returns the element of the endpoint called name over a balancer. It
// follows changes of the balancer's configuration until ctx ends.
func NewServer(ctx context.Context, name string, b Balancer, options ...Option) networkservice.NetworkServiceServer {
	s := &loadBalancerServer{balancer: b, name: name, live: newLive()}
	for _, option := range options {
		option(s)
	}
	context.AfterFunc(ctx, b.Watch(s.live.refresh))
	return s
}

func (s *loadBalancerServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if request.GetConnection().GetPrevPathSegment().GetExpires() == nil {
		// The SDK's timeout element would find out when the target is
		// registered, and forget to close it.
		return nil, status.Error(codes.Unauthenticated, "path: the previous segment does not expire, the request came without a token")
	}
	w, err := s.parse(request.GetConnection())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	before, registered := loadTarget(ctx)
	closeCtx := postpone.ContextWithValues(ctx)
	answered := len(request.GetConnection().GetContext().GetIpContext().GetDstIpAddrs()) > 0 // in an earlier run
	answer, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := s.serve(ctx, w, answer, before, registered); err != nil {
		if !registered {
			closeCtx, cancel := closeCtx()
			defer cancel()
			if undoErr := s.undo(vacate.With(closeCtx, !answered), answer); undoErr != nil {
				err = status.Errorf(status.Code(err), "%s; undo: %v", status.Convert(err).Message(), undoErr)
			}
		}
		return nil, err
	}
	return answer, nil
}

// serve completes the answer and registers its target.
func (s *loadBalancerServer) serve(ctx context.Context, w wish, answer *networkservice.Connection, before balancer.Target, registered bool) error {
	config := s.balancer.Config()
	target, err := s.answer(w, answer, config)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if registered {
		target.Hold = w.unproven(config)
	}
	if err := s.balancer.Register(ctx, target); err != nil {
		return toStatus(err)
	}
	storeTarget(ctx, target)
	s.live.add(ctx, answer, target.Streams)
	joins := slices.ContainsFunc(target.Hold, func(name string) bool { return !slices.Contains(before.Streams, name) })
	now := s.balancer.Config()
	outdated := now != config && !slices.Equal(now.StreamVIPs(w.streams...), config.StreamVIPs(w.streams...))
	if joins || outdated {
		// The monitor element in front of this one tells the client; the begin
		// element resets the state in the answer itself.
		answer.State = networkservice.State_REFRESH_REQUESTED
	}
	return nil
}

func (s *loadBalancerServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.live.remove(conn.GetId())
	deleteTarget(ctx)
	return &emptypb.Empty{}, s.undo(ctx, conn)
}

// undo removes the target, then what follows closes.
func (s *loadBalancerServer) undo(ctx context.Context, conn *networkservice.Connection) error {
	err := s.balancer.Unregister(ctx, conn.GetId())
	_, closeErr := next.Server(ctx).Close(ctx, conn)
	return errors.Join(err, closeErr)
}

// toStatus maps the errors of the balancer.
func toStatus(err error) error {
	var unknown *balancer.UnknownStreamError
	var full *balancer.MaxTargetsError
	switch {
	case errors.As(err, &unknown):
		return status.Errorf(codes.NotFound, "streams: %v", err)
	case errors.As(err, &full):
		return status.Errorf(codes.ResourceExhausted, "streams: %v", err)
	case errors.Is(err, balancer.ErrTooManyTargets):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, balancer.ErrInterfaceTaken):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.Is(err, balancer.ErrClosed):
		return status.Error(codes.Unavailable, err.Error())
	}
	return err
}
