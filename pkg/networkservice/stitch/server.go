// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
	"github.com/weft-project/weft/pkg/networkservice/vacate"
	"github.com/weft-project/weft/pkg/networkservice/vlanmech"
)

// Stitcher makes and removes legs; *stitch.Stitcher is one.
type Stitcher interface {
	Connect(ctx context.Context, leg stitch.Leg) error
	Vacate(ctx context.Context, id string) (vacated bool, err error)
	Lose(ctx context.Context, id string) error
	Withdraw(ctx context.Context, id string) error
	DisconnectIn(ctx context.Context, id, clientNetNS string) error
}

// minLease is worth the while: the kernel counts in whole seconds.
const minLease = 2 * time.Second

type server struct{ stitcher Stitcher }

// NewServer returns the element.
func NewServer(stitcher Stitcher) networkservice.NetworkServiceServer {
	return &server{stitcher: stitcher}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if prev := request.GetConnection().GetPrevPathSegment(); prev != nil && prev.GetExpires() == nil {
		// The SDK's timeout element would find out after the leg is made, and
		// forget to close it.
		return nil, status.Errorf(codes.Unauthenticated, "path segment %s: no expiration, the request came without a token", prev.GetName())
	}
	closeContext := postpone.ContextWithValues(ctx)
	sent := time.Now()
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if vlanmech.Chosen(ctx) { // the interface is vlanmech's
		return conn, toStatus(s.stitcher.DisconnectIn(ctx, conn.GetId(), ""))
	}
	if err := s.connect(ctx, conn, sent); err != nil {
		if !isConnected(ctx) {
			closeCtx, cancel := closeContext()
			defer cancel()
			if _, closeErr := next.Server(closeCtx).Close(closeCtx, conn); closeErr != nil {
				err = status.Errorf(status.Code(err), "%s; close: %v", status.Convert(err).Message(), closeErr)
			}
		}
		return nil, err
	}
	setConnected(ctx)
	return conn, nil
}

func (s *server) connect(ctx context.Context, conn *networkservice.Connection, sent time.Time) error {
	leg, err := legOf(ctx, conn, sent)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if until := leg.Client.Until; !until.IsZero() && time.Until(until) < minLease {
		return status.Errorf(codes.DeadlineExceeded, "the lease of the addresses, %s, has ended before they could be used", until.Sub(sent))
	}
	return toStatus(s.stitcher.Connect(ctx, leg))
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	cleanup := postpone.ContextWithValues(ctx)
	// An endpoint may give the addresses to others as soon as it is told.
	var vacateErr error
	if tunnelmech.ClientTunnel(ctx) == nil { // else the forwarder there has said
		var vacated bool
		vacated, vacateErr = s.stitcher.Vacate(ctx, conn.GetId())
		ctx = vacate.With(ctx, vacated)
	}
	// On another node, the leg goes with this call: the client's frames take the
	// others before, if there are any.
	loseErr := s.stitcher.Lose(ctx, conn.GetId())
	_, closeErr := next.Server(ctx).Close(ctx, conn)
	// An endpoint that does not answer has used up ctx; the leg goes all the same.
	ctx, cancel := cleanup()
	defer cancel()
	withdrawErr := s.stitcher.Withdraw(ctx, conn.GetId())
	// Without the way to the client's namespace, which may be gone, only what
	// is outside of it can be removed.
	netNS, _ := fd.Path(ctx, conn.GetMechanism().GetParameters()[kernel.NetNSURL])
	disconnectErr := s.stitcher.DisconnectIn(ctx, conn.GetId(), netNS)
	if err := errors.Join(closeErr, toStatus(vacateErr), toStatus(loseErr), toStatus(withdrawErr), toStatus(disconnectErr)); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

type connectedKey struct{}

func isConnected(ctx context.Context) bool {
	_, ok := metadata.Map(ctx, false).Load(connectedKey{})
	return ok
}

func setConnected(ctx context.Context) {
	metadata.Map(ctx, false).Store(connectedKey{}, struct{}{})
}

// toStatus is the one place where errors of the data path get their gRPC code.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err), err.Error())
}

func codeOf(err error) codes.Code {
	for _, m := range []struct {
		err  error
		code codes.Code
	}{
		{stitch.ErrInterfaceTaken, codes.AlreadyExists},
		{stitch.ErrAddressTaken, codes.AlreadyExists},
		{stitch.ErrTunnelTaken, codes.AlreadyExists},
		{stitch.ErrBadInterfaceName, codes.InvalidArgument},
		{stitch.ErrInvalidLeg, codes.InvalidArgument},
		{stitch.ErrNoNamespace, codes.NotFound},
		{stitch.ErrMACConflict, codes.FailedPrecondition},
		{stitch.ErrTooManyLegs, codes.ResourceExhausted},
		{stitch.ErrBusy, codes.ResourceExhausted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, m.err) {
			return m.code
		}
	}
	return codes.Internal
}
