// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// sockets are one UDP socket per source.
type sockets struct {
	underlay func(device int) string
	port     uint16

	mu     sync.Mutex
	closed bool
	fds    map[source]int
}

func newSockets(underlay func(device int) string, port uint16) *sockets {
	if underlay == nil {
		underlay = func(int) string { return "" }
	}
	return &sockets{underlay: underlay, port: port, fds: map[source]int{}}
}

// open implements transport.
func (s *sockets) open(from source) error {
	s.mu.Lock()
	_, ok := s.fds[from]
	s.mu.Unlock()
	if ok {
		return nil
	}
	fd, err := s.socket(from) // without the lock, others send meanwhile
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.fds[from]; ok || s.closed {
		return unix.Close(fd)
	}
	s.fds[from] = fd
	return nil
}

func (s *sockets) socket(from source) (fd int, err error) {
	err = netns.Do(s.underlay(from.device), func() (err error) {
		fd, err = udpSocket(from.local)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open socket at %s: %w", from.local, err)
	}
	return fd, nil
}

// udpSocket opens a socket that only sends. The address need not be there yet:
// sending fails until it is.
func udpSocket(local netip.Addr) (fd int, err error) {
	family, level, free := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	if local.Is4() {
		family, level, free = unix.AF_INET, unix.IPPROTO_IP, unix.IP_FREEBIND
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, level, free, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // the least there is
		unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))))
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// send implements transport. It never waits.
func (s *sockets) send(from source, to netip.Addr, datagram []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.fds[from]
	if !ok {
		var err error
		if fd, err = s.socket(from); err != nil {
			return err
		}
		s.fds[from] = fd
	}
	return unix.Sendto(fd, datagram, unix.MSG_DONTWAIT, sockaddr(netip.AddrPortFrom(to, s.port)))
}

// release implements transport.
func (s *sockets) release(from source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, ok := s.fds[from]; ok {
		_ = unix.Close(fd)
		delete(s.fds, from)
	}
}

// close implements transport.
func (s *sockets) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for from, fd := range s.fds {
		errs = append(errs, unix.Close(fd))
		delete(s.fds, from)
	}
	return errors.Join(errs...)
}
