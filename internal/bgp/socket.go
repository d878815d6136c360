// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	maxTTL        = 255
	internalTTL   = 64 // the kernel's default
	minTTLOption4 = unix.IP_MINTTL
	minTTLOption6 = unix.IPV6_MINHOPCOUNT
)

// ttls returns the TTL of our packets to the gateway, and the least that its
// packets may have; 0 = any.
func (p Peer) ttls() (send, least int) {
	switch {
	case p.TTLSecurity > 0:
		return maxTTL, maxTTL + 1 - int(p.TTLSecurity)
	case p.internal():
		return internalTTL, 0
	case p.Multihop > 0:
		return int(p.Multihop), 0
	}
	return 1, 0
}

// setTTLs sets both on a socket. The least is kept by the kernel from the first
// packet on that it sees afterwards.
func setTTLs(fd int, v6 bool, send, least int) error {
	level, ttl, minimum := unix.IPPROTO_IP, unix.IP_TTL, minTTLOption4
	if v6 {
		level, ttl, minimum = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, minTTLOption6
	}
	if err := unix.SetsockoptInt(fd, level, ttl, send); err != nil {
		return fmt.Errorf("set TTL %d: %w", send, err)
	}
	if err := unix.SetsockoptInt(fd, level, minimum, least); err != nil {
		return fmt.Errorf("set least TTL %d: %w", least, err)
	}
	return nil
}

// setPassword makes the socket sign what goes to the address, and take only what
// is signed from there (RFC 2385); "" ends it.
func setPassword(fd int, remote netip.Addr, password string) error {
	var signature unix.TCPMD5Sig
	if remote.Is4() {
		signature.Addr.Family = unix.AF_INET
		address := remote.As4()
		copy(signature.Addr.Data[2:], address[:]) // behind the port
	} else {
		signature.Addr.Family = unix.AF_INET6
		address := remote.As16()
		copy(signature.Addr.Data[6:], address[:]) // behind port and flow information
	}
	signature.Keylen = uint16(copy(signature.Key[:], password))
	err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &signature)
	if err == unix.ENOENT && password == "" {
		return nil // there was none
	}
	if err != nil {
		return fmt.Errorf("set MD5 password: %w", err)
	}
	return nil
}

// control runs f on the descriptor.
func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}

func controlConn(c net.Conn, f func(fd int) error) error {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, f)
}

// addressOf returns the address with its zone, without a port.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}
