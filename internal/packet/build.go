// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"hash/crc32"
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
	FragmentMF uint16 = 0x2000 // IPv4.Fragment: more fragments follow
)

// IP protocols and IPv6 extension headers.
const (
	HopByHop   uint8 = 0
	ICMP       uint8 = 1
	TCP        uint8 = 6
	UDP        uint8 = 17
	Routing    uint8 = 43
	Fragment   uint8 = 44
	ICMPv6     uint8 = 58
	NoNext     uint8 = 59
	DstOptions uint8 = 60
	SCTP       uint8 = 132
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

// Extension is an IPv6 extension header: its number and its bytes after the
// next header field. Header returns such bytes with the length field set.
type Extension struct {
	Proto uint8
	Body  []byte // length field first; a multiple of 8, less one
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
	Options    []byte      // IPv4, a multiple of 4 bytes
	Fragment   uint16      // IPv4 flags and fragment offset
	Extensions []Extension // IPv6
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
	size := ipv4Len + len(ip.Options)
	b := make([]byte, size, size+len(transport))
	b[0] = 0x40 | byte(size/4)
	binary.BigEndian.PutUint16(b[2:], uint16(size+len(transport)))
	binary.BigEndian.PutUint16(b[6:], ip.Fragment)
	b[8], b[9] = ip.TTL, proto
	copy(b[12:], ip.Src.AsSlice())
	copy(b[16:], ip.Dst.AsSlice())
	copy(b[ipv4Len:], ip.Options)
	binary.BigEndian.PutUint16(b[10:], Checksum(0, b))
	return append(b, transport...)
}

func (ip IP) v6(proto uint8, transport []byte) []byte {
	next := make([]byte, 0, len(ip.Extensions)+1)
	for _, e := range ip.Extensions {
		next = append(next, e.Proto)
	}
	next = append(next, proto)
	b := make([]byte, ipv6Len)
	b[0], b[6], b[7] = 0x60, next[0], ip.TTL
	copy(b[8:], ip.Src.AsSlice())
	copy(b[24:], ip.Dst.AsSlice())
	for i, e := range ip.Extensions {
		b = append(append(b, next[i+1]), e.Body...)
	}
	b = append(b, transport...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Len))
	return b
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

// TCP builds a TCP segment with flags and its checksum.
func (ip IP) TCP(sport, dport uint16, flags uint8, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 65535)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], Checksum(ip.pseudo(TCP, len(b)), b))
	return b
}

// UDP builds a UDP datagram with its checksum.
func (ip IP) UDP(sport, dport uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	b = append(b, payload...)
	sum := Checksum(ip.pseudo(UDP, len(b)), b)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// SCTP builds an SCTP packet of one chunk of type 0 (DATA) with its CRC32c.
func (ip IP) SCTP(sport, dport uint16, payload []byte) []byte {
	b := make([]byte, 16, 20+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[14:], uint16(4+len(payload)))
	b = append(b, payload...)
	b = append(b, make([]byte, (4-len(b)%4)%4)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// ICMP builds an ICMP or ICMPv6 message, by the family of the addresses.
func (ip IP) ICMP(kind, code uint8, rest []byte) (proto uint8, b []byte) {
	b = append([]byte{kind, code, 0, 0}, rest...)
	proto, sum := ICMP, uint32(0)
	if !ip.Src.Is4() {
		proto, sum = ICMPv6, ip.pseudo(ICMPv6, len(b))
	}
	binary.BigEndian.PutUint16(b[2:], Checksum(sum, b))
	return proto, b
}
