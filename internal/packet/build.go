// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// Ethertypes.
const (
	EtherIPv4  uint16 = 0x0800
	EtherARP   uint16 = 0x0806
	EtherVLAN  uint16 = 0x8100
	EtherIPv6  uint16 = 0x86dd
	EtherQinQ  uint16 = 0x88a8
	headerLen         = 14
	ipv4Len           = 20
	ipv6Len           = 40
	FragmentMF uint16 = 0x2000 // IP.Fragment: more fragments follow
	FragmentDF uint16 = 0x4000 // IP.Fragment: don't fragment
)

// IP protocols and IPv6 extension headers.
const (
	HopByHop   uint8 = 0
	ICMP       uint8 = 1
	TCP        uint8 = 6
	UDP        uint8 = 17
	Routing    uint8 = 43
	Fragment   uint8 = 44
	AH         uint8 = 51
	ICMPv6     uint8 = 58
	NoNext     uint8 = 59
	DstOptions uint8 = 60
	SCTP       uint8 = 132
)

// ICMP and ICMPv6 types.
const (
	EchoReplyV4        uint8 = 0
	UnreachableV4      uint8 = 3
	EchoRequestV4      uint8 = 8
	TimeExceededV4     uint8 = 11
	ParameterProblemV4 uint8 = 12
	UnreachableV6      uint8 = 1
	TooBigV6           uint8 = 2
	TimeExceededV6     uint8 = 3
	ParameterProblemV6 uint8 = 4
	EchoRequestV6      uint8 = 128
	EchoReplyV6        uint8 = 129
)

// TCP flags.
const (
	SYN uint8 = 2
	ACK uint8 = 16
)

// MAC is a link-layer address.
type MAC = [6]byte

// Tag is a VLAN tag; Proto 0 means 802.1Q.
type Tag struct {
	Proto uint16
	TCI   uint16
}

// Ethernet is the link layer of a frame.
type Ethernet struct {
	Dst, Src MAC
	Tags     []Tag
}

// Frame puts the payload of an ethertype into a frame.
func (e Ethernet) Frame(ethertype uint16, payload []byte) []byte {
	b := append(append(make([]byte, 0, headerLen+4*len(e.Tags)+len(payload)), e.Dst[:]...), e.Src[:]...)
	for _, t := range e.Tags {
		if t.Proto == 0 {
			t.Proto = EtherVLAN
		}
		b = binary.BigEndian.AppendUint16(b, t.Proto)
		b = binary.BigEndian.AppendUint16(b, t.TCI)
	}
	return append(binary.BigEndian.AppendUint16(b, ethertype), payload...)
}

// Extension is an extension header: its number and its bytes after the next
// header field, length field first.
type Extension struct {
	Proto uint8
	Body  []byte
}

// Options is a hop-by-hop or destination options header of 8*(n+1) bytes,
// filled with padding.
func Options(proto uint8, n uint8) Extension {
	body := make([]byte, 8*(int(n)+1)-1)
	body[0] = n
	for i := 1; i < len(body); { // PadN options of at most 8 bytes
		size := min(8, len(body)-i)
		if size == 1 {
			break // Pad1
		}
		body[i], body[i+1] = 1, byte(size-2)
		i += size
	}
	return Extension{Proto: proto, Body: body}
}

// RoutingHeader is an 8-byte routing header with the given segments left.
func RoutingHeader(left uint8) Extension {
	return Extension{Proto: Routing, Body: []byte{0, 0, left, 0, 0, 0, 0}}
}

// AuthHeader is an authentication header (RFC 4302) of 4*(n+2) bytes; n is even
// in IPv6, so that what follows stays aligned.
func AuthHeader(n uint8) Extension {
	body := make([]byte, 4*(int(n)+2)-1)
	body[0] = n
	return Extension{Proto: AH, Body: body}
}

// FragmentHeader is an IPv6 fragment header: offset in units of 8 bytes.
func FragmentHeader(offset uint16, more bool, id uint32) Extension {
	field := offset << 3
	if more {
		field |= 1
	}
	body := binary.BigEndian.AppendUint16([]byte{0}, field)
	return Extension{Proto: Fragment, Body: binary.BigEndian.AppendUint32(body, id)}
}

// IP is the network layer of a packet. The family is that of Src.
type IP struct {
	Src, Dst   netip.Addr
	TTL        uint8       // 0 means 64
	ID         uint16      // IPv4
	Options    []byte      // IPv4, a multiple of 4 bytes
	Fragment   uint16      // IPv4 flags and fragment offset
	Extensions []Extension // in IPv4 only authentication headers make sense
}

// Packet puts a transport header and payload into a frame.
func (ip IP) Packet(eth Ethernet, proto uint8, transport []byte) []byte {
	if ip.TTL == 0 {
		ip.TTL = 64
	}
	if ip.Src.Is4() {
		return eth.Frame(EtherIPv4, ip.v4(proto, transport))
	}
	return eth.Frame(EtherIPv6, ip.v6(proto, transport))
}

func (ip IP) v4(proto uint8, transport []byte) []byte {
	next, payload := ip.extend(proto, transport)
	size := ipv4Len + len(ip.Options)
	b := make([]byte, size, size+len(payload))
	b[0] = 0x40 | byte(size/4)
	binary.BigEndian.PutUint16(b[2:], uint16(size+len(payload)))
	binary.BigEndian.PutUint16(b[4:], ip.ID)
	binary.BigEndian.PutUint16(b[6:], ip.Fragment)
	b[8], b[9] = ip.TTL, next
	copy(b[12:], ip.Src.AsSlice())
	copy(b[16:], ip.Dst.AsSlice())
	copy(b[ipv4Len:], ip.Options)
	binary.BigEndian.PutUint16(b[10:], Checksum(0, b))
	return append(b, payload...)
}

func (ip IP) v6(proto uint8, transport []byte) []byte {
	next, payload := ip.extend(proto, transport)
	b := make([]byte, ipv6Len, ipv6Len+len(payload))
	b[0], b[6], b[7] = 0x60, next, ip.TTL
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], ip.Src.AsSlice())
	copy(b[24:], ip.Dst.AsSlice())
	return append(b, payload...)
}

// extend puts the extension headers before the transport header.
func (ip IP) extend(proto uint8, transport []byte) (next uint8, payload []byte) {
	next, payload = proto, transport
	for i := len(ip.Extensions) - 1; i >= 0; i-- {
		e := ip.Extensions[i]
		payload = append(append([]byte{next}, e.Body...), payload...)
		next = e.Proto
	}
	return next, payload
}

// Checksum is the Internet checksum (RFC 1071) of b, added to the partial sum.
func Checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// pseudo is the partial sum of the pseudo header.
func (ip IP) pseudo(proto uint8, length int) uint32 {
	b := append(ip.Src.AsSlice(), ip.Dst.AsSlice()...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	b = append(b, 0, 0, 0, proto)
	return uint32(^Checksum(0, b))
}
