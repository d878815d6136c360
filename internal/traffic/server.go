// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const socketBuffer = 8 << 20 // bytes; a stall of the scheduler must not look like loss on the path

// Server answers TCP and UDP on every address of its ports.
type Server struct {
	name    string
	closers []func() error
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closed  bool
	wg      sync.WaitGroup
}

// Serve starts a server on the given TCP and UDP ports, IPv4 and IPv6, in the
// calling thread's network namespace.
func Serve(name string, ports ...uint16) (*Server, error) {
	s := &Server{name: name, conns: map[net.Conn]struct{}{}}
	for _, port := range ports {
		if err := s.listen(port); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) listen(port uint16) error {
	addr := fmt.Sprintf(":%d", port)
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on tcp port %d: %w", port, err)
	}
	s.closers = append(s.closers, tcp.Close)
	s.wg.Go(func() { s.accept(tcp) })
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := (&net.ListenConfig{Control: packetInfo(network)}).ListenPacket(context.Background(), network, addr)
		if err != nil {
			return fmt.Errorf("listen on %s port %d: %w", network, port, err)
		}
		s.closers = append(s.closers, conn.Close)
		s.wg.Go(func() { s.answer(conn.(*net.UDPConn)) })
	}
	return nil
}

// packetInfo makes the kernel tell the destination address and interface of
// each datagram, so that the answer leaves with that address from there: what
// every UDP server on a wildcard address has to do.
func packetInfo(network string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		cerr := raw.Control(func(fd uintptr) {
			if network == "udp4" {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			}
			setRoom(fd)
		})
		return errors.Join(cerr, err)
	}
}

// setRoom gives a socket a large receive buffer. Best effort: without
// CAP_NET_ADMIN the default one has to do.
func setRoom(fd uintptr) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
}

// roomy is setRoom for an open socket.
func roomy(conn *net.UDPConn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(setRoom)
	}
}

func (s *Server) answer(conn *net.UDPConn) {
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, on, _, peer, err := conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier answer; the socket lives on
		}
		out := Reply{Server: s.name, Peer: unmapped(peer), Request: buf[:n]}.marshal()
		_, _, _ = conn.WriteMsgUDPAddrPort(out, oob[:on], peer)
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if !s.track(conn) {
			_ = conn.Close()
			return
		}
		s.wg.Go(func() { s.echo(conn) })
	}
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) echo(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		_ = conn.Close()
	}()
	peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if _, err := conn.Write(Reply{Server: s.name, Peer: unmapped(peer)}.marshal()); err != nil {
		return
	}
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}

// Close stops the server and waits for its goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	for _, c := range s.closers {
		_ = c()
	}
	s.wg.Wait()
}
