// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// Fragments cuts the IP packet of a frame into fragments that carry at most size
// bytes (a multiple of 8) each. IPv4 fragments keep the header, its options and
// its id; IPv6 fragments get a fragment header with the id after the headers
// that every router reads (RFC 8200, section 4.5). What is no IP packet, or has no
// payload, stays whole.
func Fragments(frame []byte, size int, id uint32) [][]byte {
	p, _ := Parse(frame)
	if p.Length == 0 {
		return [][]byte{frame}
	}
	ip := frame[p.L3 : p.L3+p.Length]
	header := ipv6Len
	if p.Src.Is4() {
		header = int(ip[0]&15) * 4
	} else {
		header += perRouter(ip)
	}
	if header >= len(ip) {
		return [][]byte{frame}
	}
	var list [][]byte
	for at := header; at < len(ip); at += size {
		data := ip[at:min(at+size, len(ip))]
		more := at+size < len(ip)
		b := append([]byte{}, frame[:p.L3+header]...)
		if p.Src.Is4() {
			fragment4(b[p.L3:], len(data), at-header, more)
			list = append(list, append(b, data...))
			continue
		}
		h := FragmentHeader(uint16((at-header)/8), more, id)
		next := p.L3 + nextField(ip, header)
		b = append(append(b, b[next]), h.Body...)
		b[next] = Fragment
		binary.BigEndian.PutUint16(b[p.L3+4:], uint16(len(b)-p.L3-ipv6Len+len(data)))
		list = append(list, append(b, data...))
	}
	return list
}

// fragment4 makes an IPv4 header that of a fragment.
func fragment4(b []byte, length, offset int, more bool) {
	field := binary.BigEndian.Uint16(b[6:])&FragmentDF | uint16(offset/8)
	if more {
		field |= FragmentMF
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+length))
	binary.BigEndian.PutUint16(b[6:], field)
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], Checksum(0, b))
}

// perRouter is the length of the extension headers up to the last hop-by-hop or
// routing header.
func perRouter(ip []byte) (size int) {
	at, kind := ipv6Len, ip[6]
	for at+1 < len(ip) && (kind == HopByHop || kind == Routing || kind == DstOptions) {
		end := at + 8*(int(ip[at+1])+1)
		if end > len(ip) {
			break
		}
		if kind != DstOptions {
			size = end - ipv6Len
		}
		kind, at = ip[at], end
	}
	return size
}

// nextField is the offset of the next header field that names what is at end.
func nextField(ip []byte, end int) int {
	field := 6
	for at := ipv6Len; at < end; at += 8 * (int(ip[at+1]) + 1) {
		field = at
	}
	return field
}
