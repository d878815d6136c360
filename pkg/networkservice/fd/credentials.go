// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

// TransportCredentials wraps inner: connections over unix sockets can carry
// descriptors, others work as before. peer.Peer.Addr is then a
// grpcfd.FDTransceiver, as the SDK's elements expect.
func TransportCredentials(inner credentials.TransportCredentials) credentials.TransportCredentials {
	return &transportCredentials{inner}
}

type transportCredentials struct {
	credentials.TransportCredentials
}

func (c *transportCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.TransportCredentials.ClientHandshake(ctx, authority, wrap(raw))
}

func (c *transportCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.TransportCredentials.ServerHandshake(wrap(raw))
}

func (c *transportCredentials) Clone() credentials.TransportCredentials {
	return &transportCredentials{c.TransportCredentials.Clone()}
}

func wrap(raw net.Conn) net.Conn {
	if unix, ok := raw.(*net.UnixConn); ok {
		return newConn(unix)
	}
	return raw
}
