// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/weft-project/weft/internal/netns"
)

// ErrNoPeer says that a call did not come through this package's credentials.
var ErrNoPeer = errors.New("caller is not known: not a unix socket of the agent")

// Peer is the process at the other end of a unix socket, as it was when it
// connected. It implements credentials.AuthInfo.
type Peer struct {
	credentials.CommonAuthInfo
	PID      int
	UID, GID uint32
	NetNS    netns.ID
	// Path leads to the namespace as long as the process lives.
	Path string
	// Err says why the namespace is not known; the calls of such a peer are
	// refused one by one, with the reason, instead of by a broken connection.
	Err error
}

// AuthType names the kind of credentials.
func (Peer) AuthType() string { return "unix-peer" }

// PeerFrom returns the caller of a gRPC call.
func PeerFrom(ctx context.Context) (Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, ErrNoPeer
	}
	caller, ok := p.AuthInfo.(Peer)
	if !ok {
		return Peer{}, ErrNoPeer
	}
	return caller, caller.Err
}

// NewCredentials returns transport credentials for a gRPC server on a unix
// socket that tell each connection's Peer.
func NewCredentials() credentials.TransportCredentials { return peerCredentials{} }

type peerCredentials struct{}

func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, fmt.Errorf("identify peer of %T: not a unix socket", conn)
	}
	info, err := identify(unixConn)
	info.Err = err
	// The kernel carries the bytes between two processes of this machine.
	info.CommonAuthInfo = credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, info, nil
}

func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers")
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// identify finds the namespace of the process that connected. The process id
// alone could be another process' by the time its namespace is read; the
// pidfd, taken by the kernel at connect, tells that it is not.
func identify(conn *net.UnixConn) (Peer, error) {
	cred, pidfd, err := peerProcess(conn)
	if err != nil {
		return Peer{}, err
	}
	defer func() { _ = unix.Close(pidfd) }()

	caller := Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Path: processPath(int(cred.Pid))}
	if cred.Pid <= 0 {
		return caller, errors.New("identify caller: its process is not visible from here (another pid namespace)")
	}
	caller.NetNS, err = netns.Identify(caller.Path)
	if !alive(pidfd) {
		return caller, fmt.Errorf("identify caller: process %d has ended", cred.Pid)
	}
	if err != nil {
		return caller, fmt.Errorf("identify namespace of process %d: %w", cred.Pid, err)
	}
	return caller, nil
}

func peerProcess(conn *net.UnixConn) (cred *unix.Ucred, pidfd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, -1, fmt.Errorf("identify caller: %w", err)
	}
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		if cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); sockErr != nil {
			return
		}
		pidfd, sockErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	})
	if err = errors.Join(err, sockErr); err != nil {
		return nil, -1, fmt.Errorf("identify caller: %w", err)
	}
	return cred, pidfd, nil
}

// alive reports whether the process behind a pidfd still runs; the pidfd
// becomes readable when its last thread ends.
func alive(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 0
	}
}

func processPath(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }
