// SPDX-License-Identifier: Apache-2.0

package vlanmech

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/trunk"
	"github.com/weft-project/weft/pkg/dataplane/vlan"
	"github.com/weft-project/weft/pkg/networkservice/fd"
)

// Trunk makes and removes interfaces in VLANs; *trunk.Trunk is one.
type Trunk interface {
	Connect(ctx context.Context, port trunk.Port) error
	Disconnect(id string) error
}

type server struct{ trunk Trunk }

// NewServer returns the element for the client's side.
func NewServer(t Trunk) networkservice.NetworkServiceServer { return &server{t} }

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeContext := postpone.ContextWithValues(ctx)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	chosen, ok := load(ctx)
	if !ok {
		if connected(ctx) { // another endpoint's answer
			metadata.Map(ctx, false).Delete(connectedKey{})
			return conn, toStatus(s.trunk.Disconnect(conn.GetId()))
		}
		return conn, nil
	}
	if err := s.connect(ctx, conn, chosen); err != nil {
		if !connected(ctx) {
			closeCtx, cancel := closeContext()
			defer cancel()
			_, closeErr := next.Server(closeCtx).Close(closeCtx, conn)
			if closeErr != nil {
				err = status.Errorf(status.Code(err), "%s; close: %v", status.Convert(err).Message(), closeErr)
			}
		}
		return nil, err
	}
	metadata.Map(ctx, false).Store(connectedKey{}, struct{}{})
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	_, err := next.Server(ctx).Close(ctx, conn)
	if err := errors.Join(err, toStatus(s.trunk.Disconnect(conn.GetId()))); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *server) connect(ctx context.Context, conn *networkservice.Connection, chosen choice) error {
	parameters := conn.GetMechanism().GetParameters()
	path, err := fd.Path(ctx, parameters[kernel.NetNSURL])
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "mechanism parameter %s: %v", kernel.NetNSURL, err)
	}
	port := trunk.Port{
		ID: conn.GetId(), NetNS: path, Interface: parameters[kernel.InterfaceNameKey],
		MTU: int(conn.GetContext().GetMTU()), Base: chosen.base, VLAN: chosen.id,
	}
	if text := conn.GetContext().GetEthernetContext().GetSrcMac(); text != "" {
		if port.MAC, err = net.ParseMAC(text); err != nil {
			return status.Errorf(codes.InvalidArgument, "ethernet_context.src_mac %q: want six bytes in hexadecimal", text)
		}
	}
	for i, text := range conn.GetContext().GetIpContext().GetSrcIpAddrs() {
		address, err := netip.ParsePrefix(text)
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "ip_context.src_ip_addrs[%d] %q: want address/bits", i, text)
		}
		port.Addresses = append(port.Addresses, address)
	}
	return toStatus(s.trunk.Connect(ctx, port))
}

type connectedKey struct{}

func connected(ctx context.Context) bool {
	_, ok := metadata.Map(ctx, false).Load(connectedKey{})
	return ok
}

// toStatus is the one place where errors of the trunk get their gRPC code.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Internal
	for _, m := range []struct {
		err  error
		code codes.Code
	}{
		{trunk.ErrInvalid, codes.InvalidArgument},
		{trunk.ErrNoNamespace, codes.NotFound},
		{trunk.ErrNoBase, codes.FailedPrecondition},
		{trunk.ErrVLANTaken, codes.FailedPrecondition},
		{trunk.ErrNameTaken, codes.AlreadyExists},
		{vlan.ErrMACTaken, codes.AlreadyExists},
		{vlan.ErrTooManyPorts, codes.ResourceExhausted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, m.err) {
			code = m.code
			break
		}
	}
	return status.Error(code, err.Error())
}
