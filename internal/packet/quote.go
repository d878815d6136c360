// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// MaxQuotedExtensions is how many extension headers of a quoted packet are
// walked over.
const MaxQuotedExtensions = 4

// ICMPError says that an ICMP message of this kind quotes the packet that caused
// it.
func ICMPError(proto, kind uint8) bool {
	switch proto {
	case ICMP:
		return kind == UnreachableV4 || kind == TimeExceededV4 || kind == ParameterProblemV4
	case ICMPv6:
		return 1 <= kind && kind <= 4
	}
	return false
}

// Quote is the packet that an ICMP error quotes.
type Quote struct {
	Src, Dst         netip.Addr
	Proto            uint8 // TCP, UDP or SCTP
	SrcPort, DstPort uint16
	L4               int // offset of its transport header in the message
}

// ParseQuote reads the packet quoted by the ICMP error that message is (from the
// ICMP header to the end of the IP packet), which the quote may reach beyond. It
// reports false unless the quote names the flow of the packet: both addresses
// and ports, and 8 bytes of its transport header.
func ParseQuote(message []byte, v4 bool) (q Quote, ok bool) {
	if len(message) < 8 {
		return q, false
	}
	var (
		b = message[8:]
		c chain
	)
	if v4 {
		if len(b) < ipv4Len || b[0]>>4 != 4 || b[0]&15 < 5 || len(b) < int(b[0]&15)*4 {
			return q, false
		}
		c = chain{v4: true, next: b[9], fragment: fragmentation4(b)}
		q.Src, q.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[int(b[0]&15)*4:]
	} else {
		if len(b) < ipv6Len || b[0]>>4 != 6 {
			return q, false
		}
		c = chain{next: b[6]}
		q.Src, q.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[ipv6Len:]
	}
	b, err := c.walk(b, MaxQuotedExtensions)
	if err != nil || c.fragment.Later() || len(b) < 8 || c.next != TCP && c.next != UDP && c.next != SCTP {
		return q, false
	}
	q.Proto, q.L4 = c.next, len(message)-len(b)
	q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return q, true
}
