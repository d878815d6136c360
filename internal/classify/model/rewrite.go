// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/weft-project/weft/internal/packet"
)

// Offsets of the ports in a TCP, UDP or SCTP header.
const (
	source      = 0
	destination = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// setPort changes a port of a transport header and its checksum. A checksum that
// was wrong stays wrong.
func setPort(l4 []byte, proto uint8, at int, port uint16) {
	before := bytes.Clone(l4)
	binary.BigEndian.PutUint16(l4[at:], port)
	switch proto {
	case packet.TCP:
		amend(l4, before, 16)
	case packet.UDP:
		amendUDP(l4, before)
	case packet.SCTP:
		amendSCTP(l4, before)
	}
}

// setQuotedPort changes a port of the packet that an ICMP error quotes, the
// checksum there if it is quoted, too, and the error's own.
func setQuotedPort(message []byte, q packet.Quote, at int, port uint16) {
	before := bytes.Clone(message)
	l4 := message[q.L4:]
	binary.BigEndian.PutUint16(l4[at:], port)
	switch {
	case q.Proto == packet.TCP && len(l4) >= 18:
		amend(l4, before[q.L4:], 16)
	case q.Proto == packet.UDP:
		amendUDP(l4, before[q.L4:])
	}
	amend(message, before, 2)
}

// setTTL changes the TTL or hop limit of an IP packet.
func setTTL(ip []byte, ttl uint8) {
	if ip[0]>>4 == 6 {
		ip[7] = ttl
		return
	}
	before := bytes.Clone(ip[:20])
	ip[8] = ttl
	amend(ip[:20], before, 10)
}

// clamp lowers the MSS option of a TCP SYN to what fits the MTUs of the leg and
// of the external interface.
func (w World) clamp(l4 []byte, p packet.Packet, leg uint16) {
	if !w.Set.MSSClamp || p.Proto != packet.TCP || l4[13]&packet.SYN == 0 {
		return
	}
	headers := 40
	if !p.Src.Is4() {
		headers = 60
	}
	limit := 1 << 16
	for _, mtu := range []uint16{leg, w.Set.MTU} {
		if mtu != 0 {
			limit = min(limit, int(mtu)-headers)
		}
	}
	at := mssOption(l4)
	if at == 0 || limit < 0 || int(binary.BigEndian.Uint16(l4[at:])) <= limit {
		return
	}
	before := bytes.Clone(l4)
	binary.BigEndian.PutUint16(l4[at:], uint16(limit))
	amend(l4, before, 16)
}

// mssOption returns where the value of the first MSS option is, 0 if there is
// none. Options that the header or the packet cuts off do not count, nor does
// what follows a malformed one.
func mssOption(l4 []byte) int {
	end := min(int(l4[12]>>4)*4, len(l4))
	for at := 20; at < end; {
		switch l4[at] {
		case 0:
			return 0
		case 1:
			at++
			continue
		}
		if at+2 > end || l4[at+1] < 2 || at+int(l4[at+1]) > end {
			return 0
		}
		if l4[at] == 2 && l4[at+1] == 4 {
			return at + 2
		}
		at += int(l4[at+1])
	}
	return 0
}

// amend updates the Internet checksum at an offset of b for all that differs
// from before, by RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
func amend(b, before []byte, at int) {
	sum := uint32(^binary.BigEndian.Uint16(before[at:]))
	for i := 0; i < len(b); i += 2 {
		if was, is := word(before, i), word(b, i); i != at && was != is {
			sum += uint32(^was) + uint32(is)
			sum = sum&0xffff + sum>>16
		}
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[at:], ^uint16(sum))
}

// word is 16 bits of b, which may end after the first 8.
func word(b []byte, at int) uint16 {
	if at+1 == len(b) {
		return uint16(b[at]) << 8
	}
	return binary.BigEndian.Uint16(b[at:])
}

// amendUDP knows that 0 says that there is no checksum (RFC 768, for IPv6 RFC
// 6935).
func amendUDP(l4, before []byte) {
	if binary.BigEndian.Uint16(l4[6:]) == 0 {
		return
	}
	if amend(l4, before, 6); binary.BigEndian.Uint16(l4[6:]) == 0 {
		binary.BigEndian.PutUint16(l4[6:], 0xffff)
	}
}

// amendSCTP takes the difference between the right checksums before and after
// (RFC 9260, appendix A; over the packet with 0 in place of the checksum).
func amendSCTP(l4, before []byte) {
	right := func(b []byte) uint32 {
		b = bytes.Clone(b)
		clear(b[8:12])
		return crc32.Checksum(b, castagnoli)
	}
	sum := binary.LittleEndian.Uint32(before[8:]) ^ right(before) ^ right(l4)
	binary.LittleEndian.PutUint32(l4[8:], sum)
}
