// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"encoding/binary"
	"net/netip"
)

// number is an address or port.
type number struct{ hi, lo uint64 }

func (n number) less(o number) bool { return n.hi < o.hi || n.hi == o.hi && n.lo < o.lo }

func (n number) next() number {
	if n.lo++; n.lo == 0 {
		n.hi++
	}
	return n
}

func (n number) before() number {
	if n.lo == 0 {
		n.hi--
	}
	n.lo--
	return n
}

func small(n int) number { return number{lo: uint64(n)} }

// span is first to last, both included; spans are disjoint and in order.
type (
	span  struct{ first, last number }
	spans []span
)

func (s span) has(n number) bool { return !n.less(s.first) && !s.last.less(n) }

func (s spans) has(n number) bool {
	for _, part := range s {
		if part.has(n) {
			return true
		}
	}
	return false
}

// minus returns what is in s but not in the list, which may overlap.
func (s spans) minus(list spans) spans {
	for _, cut := range list {
		var left spans
		for _, part := range s {
			if cut.last.less(part.first) || part.last.less(cut.first) {
				left = append(left, part)
				continue
			}
			if part.first.less(cut.first) {
				left = append(left, span{part.first, cut.first.before()})
			}
			if cut.last.less(part.last) {
				left = append(left, span{cut.last.next(), part.last})
			}
		}
		s = left
	}
	return s
}

// and returns what is in both.
func (s spans) and(list spans) spans { return s.minus(s.minus(list)) }

// prefixSpans are the addresses of one family in the prefixes.
func prefixSpans(list []netip.Prefix, v4 bool) (out spans) {
	for _, p := range list {
		if p.Addr().Is4() != v4 {
			continue
		}
		a, host := p.Addr().As16(), 128-p.Bits()
		if v4 {
			host = 32 - p.Bits()
		}
		first := number{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}
		last := first
		if host >= 64 {
			last.lo = 1<<64 - 1
			last.hi |= 1<<(host-64) - 1
		} else {
			last.lo |= 1<<host - 1
		}
		out = append(out, span{first, last})
	}
	return out
}

func portSpans(list []PortRange) (out spans) {
	for _, r := range list {
		out = append(out, span{small(int(r.First)), small(int(r.Last))})
	}
	return out
}

func numberOf(a netip.Addr) number {
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) addr(v4 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	a := netip.AddrFrom16(b)
	if v4 {
		return a.Unmap()
	}
	return a
}
