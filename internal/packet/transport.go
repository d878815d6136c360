// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"hash/crc32"
)

// TCP builds a TCP segment with flags and its checksum.
func (ip IP) TCP(sport, dport uint16, flags uint8, payload []byte) []byte {
	return ip.TCPOptions(sport, dport, flags, nil, payload)
}

// MSS is the TCP option of that name (RFC 9293).
func MSS(size uint16) []byte { return binary.BigEndian.AppendUint16([]byte{2, 4}, size) }

// TCPOptions builds a TCP segment with options, padded to a multiple of 4 bytes.
func (ip IP) TCPOptions(sport, dport uint16, flags uint8, options, payload []byte) []byte {
	size := 20 + (len(options)+3)/4*4
	b := make([]byte, size, size+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	b[12], b[13] = byte(size/4)<<4, flags
	binary.BigEndian.PutUint16(b[14:], 65535)
	copy(b[20:], options)
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

// ICMPError builds an ICMP or ICMPv6 error that quotes an IP packet; word is the
// second half of its header.
func (ip IP) ICMPError(kind, code uint8, word uint32, quoted []byte) (proto uint8, b []byte) {
	return ip.ICMP(kind, code, append(binary.BigEndian.AppendUint32(nil, word), quoted...))
}
