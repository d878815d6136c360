// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bfd"
)

const (
	listeners = 4  // single hop and multihop, IPv4 and IPv6
	batch     = 32 // packets per system call
	// receiveBuffer holds what arrives while the thread does not run.
	receiveBuffer = 1 << 20
	controlSize   = 128
)

// listener receives the packets of all sessions of one kind.
type listener struct {
	fd       int
	multihop bool
	// drained is when nothing was left last: what arrives is younger.
	drained time.Time
	problem error // the last one that was logged

	headers  [batch]mmsghdr
	iovecs   [batch]unix.Iovec
	sources  [batch]unix.RawSockaddrInet6 // room for either family
	packets  [batch][bfd.MaxLength + 1]byte
	controls [batch][controlSize]byte
}

// mmsghdr is that of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// received is what the kernel says about a packet.
type received struct {
	path bfd.Path
	ttl  int
	at   time.Time // of the wall clock; zero: not said
}

// listen makes sure that there is a socket for the kind of session.
func (s *Speaker) listen(key Key) error {
	i, port := 0, singleHopPort
	if key.Multihop {
		i, port = 2, multihopPort
	}
	if key.Remote.Is6() {
		i++
	}
	if s.listeners[i] != nil {
		return nil
	}
	l, err := openListener(key.Remote.Is6(), key.Multihop, port)
	if err != nil {
		return fmt.Errorf("listen on UDP port %d: %w", port, err)
	}
	s.listeners[i] = l
	return nil
}

func openListener(six, multihop bool, port int) (*listener, error) {
	domain, any := unix.AF_INET, netip.IPv4Unspecified()
	options := [][3]int{
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
	}
	if six {
		domain, any = unix.AF_INET6, netip.IPv6Unspecified()
		options = [][3]int{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer) // as much as is allowed
	}
	if err := unix.Bind(fd, sockaddr(any, port, 0)); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	l := &listener{fd: fd, multihop: multihop, drained: time.Now()}
	for i := range l.headers {
		l.iovecs[i].Base = &l.packets[i][0]
		l.iovecs[i].SetLen(len(l.packets[i]))
		h := &l.headers[i].header
		h.Name = (*byte)(unsafe.Pointer(&l.sources[i]))
		h.Iov, h.Control = &l.iovecs[i], &l.controls[i][0]
		h.SetIovlen(1)
	}
	return l, nil
}

// read takes up to batch packets.
func (l *listener) read() (int, error) {
	for i := range l.headers {
		h := &l.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&l.headers)), batch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (l *listener) close() { _ = unix.Close(l.fd) }

// packet is the i-th of those read.
func (l *listener) packet(i int) []byte {
	return l.packets[i][:min(int(l.headers[i].length), bfd.MaxLength)]
}

// about tells where the i-th packet came from, and when.
func (l *listener) about(i int) received {
	r := received{path: bfd.Path{Multihop: l.multihop}, ttl: -1}
	source := &l.sources[i]
	if source.Family == unix.AF_INET {
		r.path.Remote = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(source)).Addr)
	} else {
		r.path.Remote = netip.AddrFrom16(source.Addr)
	}
	control := l.controls[i][:l.headers[i].header.Controllen]
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(control) {
			break
		}
		r.control(h.Level, h.Type, control[unix.SizeofCmsghdr:length])
		control = control[min(unix.CmsgSpace(length-unix.SizeofCmsghdr), len(control)):]
	}
	if l.multihop {
		r.path.Link = 0
	} else {
		r.path.Local = netip.Addr{}
	}
	return r
}

func (r *received) control(level, kind int32, data []byte) {
	native := binary.NativeEndian
	switch {
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(data) >= 16:
		r.at = time.Unix(int64(native.Uint64(data)), int64(native.Uint64(data[8:])))
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL && len(data) >= 4,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) >= 4:
		r.ttl = int(native.Uint32(data))
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		r.path.Link = int(native.Uint32(data))
		r.path.Local = netip.AddrFrom4([4]byte(data[8:12]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		r.path.Local = netip.AddrFrom16([16]byte(data))
		r.path.Link = int(native.Uint32(data[16:]))
	}
}
