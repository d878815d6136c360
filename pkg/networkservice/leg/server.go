// SPDX-License-Identifier: Apache-2.0

package leg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ownNamespace is what the process sees its namespace by. The one who passes
// descriptors opens it in this process.
const ownNamespace = "/proc/self/ns/net"

type legServer struct {
	netNS string // URL
}

// NewServer returns the element for an endpoint whose namespace is at the path,
// "" being the process's own.
func NewServer(netNS string) networkservice.NetworkServiceServer {
	if netNS == "" {
		netNS = ownNamespace
	}
	return &legServer{netNS: (&url.URL{Scheme: "file", Path: netNS}).String()}
}

// Prefix begins the names of all leg interfaces.
const Prefix = "leg-"

// InterfaceName returns the name of a connection's interface, 14 bytes long.
func InterfaceName(connection string) string {
	sum := sha256.Sum256([]byte(connection))
	return Prefix + hex.EncodeToString(sum[:5])
}

func (s *legServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn.GetMechanism() == nil {
		for _, preference := range request.GetMechanismPreferences() {
			if preference.GetType() == kernel.MECHANISM && preference.GetCls() == cls.LOCAL {
				conn.Mechanism = preference.Clone()
				break
			}
		}
	}
	mechanism := kernel.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return nil, status.Errorf(codes.InvalidArgument, "mechanism: %q, want %s", conn.GetMechanism().GetType(), kernel.MECHANISM)
	}
	mechanism.SetInterfaceName(InterfaceName(conn.GetId()))
	mechanism.SetNetNSURL(s.netNS)
	return next.Server(ctx).Request(ctx, request)
}

func (s *legServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
