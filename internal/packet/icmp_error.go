// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrNoError says that no ICMP error may be sent about a packet.
var ErrNoError = errors.New("no ICMP error may be sent about it")

const (
	icmpHeader = 8

	// How long errors are at most, quote included: RFC 1812, section 4.3.2.3,
	// and RFC 4443, section 2.4 (c).
	maxError4 = 576
	maxError6 = 1280

	// Least MTUs: RFC 791 and RFC 8200.
	minMTU4 = 68
	minMTU6 = 1280

	internetControl = 0xc0 // type of service, RFC 1812, section 4.3.2.5
	errorTTL        = 64
)

// TimeExceeded is the IP packet from src that tells the source of the cause of
// its expired TTL or hop limit. The cause begins with its IP header, which is
// all there; what is missing of the rest or padded is not quoted.
func TimeExceeded(src netip.Addr, cause []byte) []byte {
	if cause[0]>>4 == 4 {
		return icmpError4(src, 11, 0, 0, cause)
	}
	return icmpError6(src, 3, 0, cause)
}

// TooBig is the IP packet from src that tells the source of the cause which MTU
// it exceeds: "fragmentation needed" (RFC 1191) or "packet too big". An MTU below
// the least of the protocol is reported as that.
func TooBig(src netip.Addr, mtu int, cause []byte) []byte {
	if cause[0]>>4 == 4 {
		return icmpError4(src, 3, 4, uint32(min(max(mtu, minMTU4), 0xffff)), cause)
	}
	return icmpError6(src, 2, uint32(max(mtu, minMTU6)), cause)
}

func icmpError4(src netip.Addr, kind, code uint8, rest uint32, cause []byte) []byte {
	quote := quoteOf(cause, maxError4-ipv4Len-icmpHeader)
	size := ipv4Len + icmpHeader + len(quote)
	b := make([]byte, ipv4Len+icmpHeader, size)
	b[0], b[1] = 0x45, internetControl
	binary.BigEndian.PutUint16(b[2:], uint16(size))
	// Whole and staying so, it needs no identification (RFC 6864).
	binary.BigEndian.PutUint16(b[6:], flagDF)
	b[8], b[9] = errorTTL, ICMP
	copy(b[12:16], src.AsSlice())
	copy(b[16:20], cause[12:16])
	binary.BigEndian.PutUint16(b[10:], Checksum(0, b[:ipv4Len]))
	b[ipv4Len], b[ipv4Len+1] = kind, code
	binary.BigEndian.PutUint32(b[ipv4Len+4:], rest)
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[ipv4Len+2:], Checksum(0, b[ipv4Len:]))
	return b
}

func icmpError6(src netip.Addr, kind uint8, rest uint32, cause []byte) []byte {
	quote := quoteOf(cause, maxError6-ipv6Len-icmpHeader)
	ip := IP{Src: src, Dst: netip.AddrFrom16([16]byte(cause[8:])), TTL: errorTTL}
	message := binary.BigEndian.AppendUint32(nil, rest)
	proto, message := ip.ICMP(kind, 0, append(message, quote...))
	return ip.v6(proto, message)
}

// quoteOf is what there is of the cause, at most limit bytes of it. The length
// field of a super packet is 0; IPv6 knows a real 0, which is a bare header that
// would exceed no MTU.
func quoteOf(cause []byte, limit int) []byte {
	total := int(binary.BigEndian.Uint16(cause[2:]))
	if cause[0]>>4 == 6 {
		if total = int(binary.BigEndian.Uint16(cause[4:])); total > 0 || len(cause) <= maxError6 {
			total += ipv6Len
		}
	}
	if total == 0 {
		total = len(cause)
	}
	return cause[:min(total, limit, len(cause))]
}

// Blameable is nil if an ICMP error may be sent about the packet: RFC 1122,
// section 3.2.2, and RFC 4443, section 2.4 (e). The packet may be cut short
// anywhere: what cannot be told from the rest is ErrNoError as well, and so is
// what is no IP packet.
func Blameable(cause []byte) error {
	var bad bool
	switch {
	case len(cause) >= ipv4Len && cause[0]>>4 == 4:
		bad = !blameable4(cause)
	case len(cause) >= ipv6Len && cause[0]>>4 == 6:
		bad = !blameable6(cause)
	default:
		bad = true
	}
	if bad {
		return ErrNoError
	}
	src, dst := Addresses(cause)
	if !unicast(src) || !unicast(dst) || src == dst {
		return ErrNoError
	}
	return nil
}

// unicast says whether the address stands for one host that is not this one.
func unicast(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 240 // "this network"; class E and broadcast
	}
	return true
}

func blameable4(p []byte) bool {
	header, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if header < ipv4Len || header > len(p) || total > 0 && total < header || Checksum(0, p[:header]) != 0 ||
		binary.BigEndian.Uint16(p[6:])&offsetMask != 0 {
		return false
	}
	return blameableTransport(p[9], p[header:])
}

func blameable6(p []byte) bool { return blameableTransport(p[6], p[ipv6Len:]) }

// blameableTransport walks over extension headers to the transport.
func blameableTransport(proto uint8, b []byte) bool {
	const ah = 51 // authentication header
	for range MaxExtensions + 1 {
		size := 0
		switch proto {
		case ICMP:
			return len(b) > 0 && !errorType4(b[0])
		case ICMPv6:
			return len(b) > 0 && b[0] >= 128 && b[0] != 137 // redirect
		case HopByHop, Routing, DstOptions, Fragment, ah:
			if len(b) < 8 {
				return false
			}
			size = 8 + 8*int(b[1])
		default:
			return true
		}
		switch proto {
		case Fragment:
			if size = 8; binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				return false
			}
		case ah:
			size = 4 * (int(b[1]) + 2)
		}
		if size > len(b) {
			return false
		}
		proto, b = b[0], b[size:]
	}
	return false
}

// errorType4 tells ICMP errors from requests: unreachable, source quench,
// redirect, time exceeded, parameter problem.
func errorType4(t uint8) bool {
	switch t {
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}
