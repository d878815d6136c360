// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"net"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lostAfter is how long the other end of a TCP connection may be silent although
// it was spoken to.
const lostAfter = 6 * time.Second

// KeepAlive finds out that a node is gone which cannot say so any more. It is the
// kernel's, not gRPC's, whose servers take frequent pings for an attack.
var KeepAlive = net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3}

// Control sets for a TCP socket what [KeepAlive] does not cover: data that nobody
// acknowledges.
func Control(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostAfter.Milliseconds()))
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}

// TCP connects to another node, host:port.
func TCP(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: KeepAlive, Control: Control}
	return dialer.DialContext(ctx, "tcp", address)
}

// IsRemote reports whether u leads to another node. Without a URL there is no
// hop at all.
func IsRemote(u *url.URL) bool {
	return u != nil && u.Scheme != "unix" && u.Scheme != "inode"
}
