// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// Flags and offset of an IPv4 header.
const (
	flagDF     = 0x4000
	offsetMask = 0x1fff
)

// Network returns the IP packet that b begins with, without what a link layer
// padded it with. Lengths and version are right then: ErrNetwork and ErrLength
// say they are not, or that the packet is not all there. A packet too long for
// its length field (a super packet, length 0) is an ErrLength, too.
func Network(b []byte) ([]byte, error) {
	if len(b) < ipv4Len {
		return nil, ErrNetwork
	}
	switch b[0] >> 4 {
	case 4:
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < ipv4Len || total < header || total > len(b) {
			return nil, ErrLength
		}
		return b[:total], nil
	case 6:
		if len(b) < ipv6Len {
			return nil, ErrNetwork
		}
		total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return nil, ErrLength
		}
		return b[:total], nil
	}
	return nil, ErrLength
}

// Addresses returns source and destination of what Network returned.
func Addresses(p []byte) (src, dst netip.Addr) {
	if p[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
	}
	return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
}

// SwapAddresses exchanges source and destination. It changes no checksum: sums
// do not depend on the order of what they add.
func SwapAddresses(p []byte) {
	at, size := 8, 16
	if p[0]>>4 == 4 {
		at, size = 12, 4
	}
	src, dst := p[at:at+size], p[at+size:at+2*size]
	for i := range src {
		src[i], dst[i] = dst[i], src[i]
	}
}

// TTL returns the TTL or hop limit.
func TTL(p []byte) uint8 {
	if p[0]>>4 == 4 {
		return p[8]
	}
	return p[7]
}

// SetTTL sets the TTL or hop limit. The IPv4 header checksum is updated (RFC
// 1624, equation 3), so that a wrong one stays wrong.
func SetTTL(p []byte, ttl uint8) {
	if p[0]>>4 == 6 {
		p[7] = ttl
		return
	}
	old := binary.BigEndian.Uint16(p[8:])
	p[8] = ttl
	sum := uint32(^binary.BigEndian.Uint16(p[10:])) + uint32(^old) + uint32(binary.BigEndian.Uint16(p[8:]))
	binary.BigEndian.PutUint16(p[10:], Checksum(sum, nil))
}

// MayFragment says whether a router may cut the packet.
func MayFragment(p []byte) bool {
	return p[0]>>4 == 4 && binary.BigEndian.Uint16(p[6:])&flagDF == 0
}

// SetPort sets the destination port (or the source port) of an IPv4 packet of TCP,
// UDP or SCTP and updates its checksum, so that a wrong one stays wrong and the
// absent one of UDP stays absent. It returns false, and changes nothing, when the
// header or what the checksum covers is not there.
func SetPort(p []byte, port uint16, destination bool) bool {
	b := p[int(p[0]&15)*4:]
	fragment := binary.BigEndian.Uint16(p[6:])&(FragmentMF|offsetMask) != 0
	if binary.BigEndian.Uint16(p[6:])&offsetMask != 0 {
		return false
	}
	at := 0
	if destination {
		at = 2
	}
	switch {
	case p[9] == TCP && len(b) >= 20:
		updateSum(b[16:], b[at:], port)
	case p[9] == UDP && len(b) >= 8:
		if sum := b[6:]; binary.BigEndian.Uint16(sum) != 0 {
			updateSum(sum, b[at:], port)
			if binary.BigEndian.Uint16(sum) == 0 {
				binary.BigEndian.PutUint16(sum, 0xffff)
			}
		}
	case p[9] == SCTP && len(b) >= 12 && !fragment:
		table := crc32.MakeTable(crc32.Castagnoli)
		change := crc32.Checksum(b, table)
		binary.BigEndian.PutUint16(b[at:], port)
		change ^= crc32.Checksum(b, table)
		binary.LittleEndian.PutUint32(b[8:], binary.LittleEndian.Uint32(b[8:])^change)
	default:
		return false
	}
	binary.BigEndian.PutUint16(b[at:], port)
	return true
}

// updateSum updates a checksum for two bytes that become v: RFC 1624, equation 3.
func updateSum(sum, field []byte, v uint16) {
	change := uint32(^binary.BigEndian.Uint16(sum)) + uint32(^binary.BigEndian.Uint16(field)) + uint32(v)
	binary.BigEndian.PutUint16(sum, Checksum(change, nil))
}

// CompleteIPv4 fills in the transport checksum of a whole IPv4 packet if its
// sender left that to a device that never saw the packet, as packets of a local
// stack are until they reach hardware. Such a packet carries the sum of the
// pseudo header (TCP, UDP) or nothing (SCTP) where its checksum belongs. Every
// other packet, wrong checksums included, stays as it is.
func CompleteIPv4(p []byte) {
	if binary.BigEndian.Uint16(p[6:])&(FragmentMF|offsetMask) != 0 {
		return
	}
	b := p[int(p[0]&15)*4:]
	switch {
	case p[9] == TCP && len(b) >= 20:
		completeSum(p, b, TCP, 16)
	case p[9] == UDP && len(b) >= 8:
		completeSum(p, b, UDP, 6)
	case p[9] == SCTP && len(b) >= 12 && binary.LittleEndian.Uint32(b[8:]) == 0:
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
}

func completeSum(p, b []byte, proto uint8, at int) {
	var ip IP
	ip.Src, ip.Dst = Addresses(p)
	pseudo := ip.pseudo(proto, len(b))
	if uint32(binary.BigEndian.Uint16(b[at:])) != pseudo || Checksum(pseudo, b) == 0 {
		return
	}
	// The field holds the partial sum already.
	sum := Checksum(0, b)
	if sum == 0 && proto == UDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}
