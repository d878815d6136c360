// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The ports of RFC 5881, 4 and RFC 5883, 5.
const (
	singleHopPort = 3784
	multihopPort  = 4784
	firstSource   = 49152
	sourcePorts   = 65536 - firstSource
	ttl           = 255
	// trafficClass is network control (CS6), so that queues drop it last.
	trafficClass = 0xc0
)

// sender is the socket by which one session sends: its source port is its own.
// Nothing is received by it.
type sender struct {
	fd   int
	link int // index of the interface; 0 = any
	to   unix.Sockaddr
}

func openSender(key Key) (*sender, error) {
	domain := unix.AF_INET
	if key.Remote.Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	s := &sender{fd: fd}
	if err := s.prepare(key, domain); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return s, nil
}

func (s *sender) prepare(key Key, domain int) error {
	if key.Interface != "" {
		if err := unix.BindToDevice(s.fd, key.Interface); err != nil {
			return fmt.Errorf("interface %s: %w", key.Interface, err)
		}
		var err error
		if s.link, err = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err != nil {
			return fmt.Errorf("interface %s: %w", key.Interface, err)
		}
	}
	options := [][3]int{{unix.IPPROTO_IP, unix.IP_TTL, ttl}, {unix.IPPROTO_IP, unix.IP_TOS, trafficClass}}
	if domain == unix.AF_INET6 {
		options = [][3]int{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass},
		}
	}
	options = append(options, [3]int{unix.SOL_SOCKET, unix.SO_PRIORITY, 7}, [3]int{unix.SOL_SOCKET, unix.SO_RCVBUF, 0})
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o[0], o[1], o[2]); err != nil {
			return fmt.Errorf("prepare socket: %w", err)
		}
	}
	port := singleHopPort
	if key.Multihop {
		port = multihopPort
	}
	s.to = sockaddr(key.Remote, port, s.link)
	return s.bind(key)
}

// bind takes a free source port, from a random one on.
func (s *sender) bind(key Key) error {
	local := key.Local
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if key.Remote.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	start := rand.IntN(sourcePorts)
	for i := range sourcePorts {
		err := unix.Bind(s.fd, sockaddr(local, firstSource+(start+i)%sourcePorts, s.link))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return fmt.Errorf("local address %s: %w", local, err)
		}
	}
	return errors.New("no source port is free")
}

func (s *sender) send(b []byte) error {
	if err := unix.Sendto(s.fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, s.to); err != nil {
		return os.NewSyscallError("send", err)
	}
	return nil
}

func (s *sender) close() { _ = unix.Close(s.fd) }

func sockaddr(a netip.Addr, port, link int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	to := &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		to.ZoneId = uint32(link)
	}
	return to
}
