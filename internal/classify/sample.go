// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Packet is one that a rule matches.
type Packet struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	SrcPort, DstPort uint16
	Header           []byte // L4 header and data, the ports included
}

// ErrShadowed says that rules of higher precedence match everything that a rule
// matches, or that it matches nothing.
var ErrShadowed = errors.New("no packet reaches the rule")

// ErrSampleEffort says that the search was given up.
var ErrSampleEffort = errors.New("no packet that reaches the rule was found in time")

// sampleSteps bounds a search: that for a packet among many overlapping rules may
// have to try more combinations than there is time for.
const sampleSteps = 20000

// headerMost is the longest header that byte matches look at.
const headerMost = MaxByteOffset + 4

// Fields of a region.
const (
	atDst = iota
	atSrc
	atSrcPort
	atDstPort
	atLength // of the header
	fields
)

// region is a set of packets of one family and protocol: those with each field in
// its spans, and the known bits of the header.
type region struct {
	v4    bool
	proto uint8
	field [fields]spans
	known [headerMost]byte // mask
	value [headerMost]byte
}

// search looks for a packet that a rule gets.
type search struct {
	rules []*Rule // of higher precedence
	steps int
}

// Sample returns a packet to an address within vip that rule index of the set gets:
// it matches, and no rule of higher precedence does. Equal sets give equal packets.
func (s Set) Sample(index int, vip netip.Prefix) (Packet, error) {
	rule := &s.Rules[index]
	v4 := vip.Addr().Is4()
	dst := prefixSpans([]netip.Prefix{vip}, v4).and(prefixSpans(rule.VIPs, v4)).and(prefixSpans(s.VIPs, v4))
	run := search{steps: sampleSteps}
	for i := range s.Rules {
		if i != index && precede(&s.Rules[i], rule) < 0 {
			run.rules = append(run.rules, &s.Rules[i])
		}
	}
	slices.SortFunc(run.rules, precede)
	for _, proto := range protocols {
		if len(rule.Protocols) > 0 && !slices.Contains(rule.Protocols, proto) {
			continue
		}
		r, ok := whole(rule, dst, v4, proto)
		if !ok {
			continue
		}
		if p, ok := run.find(r, run.rules); ok {
			return p, nil
		}
	}
	if run.steps <= 0 {
		return Packet{}, ErrSampleEffort
	}
	return Packet{}, ErrShadowed
}

// whole is the region of a rule.
func whole(rule *Rule, dst spans, v4 bool, proto uint8) (r region, ok bool) {
	r = region{v4: v4, proto: proto}
	r.field[atDst] = dst
	r.field[atSrc] = sourceSpans(rule, v4)
	r.field[atSrcPort], r.field[atDstPort] = spans{{small(0), small(65535)}}, spans{{small(0), small(65535)}}
	if len(rule.SourcePorts) > 0 {
		r.field[atSrcPort] = r.field[atSrcPort].and(portSpans(rule.SourcePorts))
	}
	if len(rule.DestinationPorts) > 0 {
		r.field[atDstPort] = r.field[atDstPort].and(portSpans(rule.DestinationPorts))
	}
	least := map[uint8]int{TCP: 20, UDP: 8, SCTP: 12}[proto]
	for _, m := range rule.ByteMatches {
		if m.Protocol != proto {
			continue
		}
		least = max(least, int(m.Offset)+int(m.Width))
		mask, value := m.bytes()
		for i := range int(m.Width) {
			at := int(m.Offset) + i
			if (r.value[at]^value[i])&r.known[at]&mask[i] != 0 {
				return r, false
			}
			r.known[at] |= mask[i]
			r.value[at] |= value[i]
		}
	}
	r.field[atLength] = spans{{small(least), small(headerMost)}}
	return r, !slices.ContainsFunc(r.field[:], func(s spans) bool { return len(s) == 0 })
}

// sourceSpans are the sources of a rule: all, if it names none.
func sourceSpans(rule *Rule, v4 bool) spans {
	if len(rule.Sources) > 0 {
		return spans{}.union(prefixSpans(rule.Sources, v4))
	}
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if v4 {
		all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return prefixSpans([]netip.Prefix{all}, v4)
}

// union returns what is in s or in the list, which may overlap.
func (s spans) union(list spans) spans {
	for _, more := range list {
		s = append(s, spans{more}.minus(s)...)
	}
	slices.SortFunc(s, func(a, b span) int {
		if a.first.less(b.first) {
			return -1
		}
		return 1
	})
	return s
}

// bytes returns mask and value of a match, byte by byte.
func (m ByteMatch) bytes() (mask, value []byte) {
	mask, value = make([]byte, 4), make([]byte, 4)
	shift := 8 * (4 - uint(m.Width))
	binary.BigEndian.PutUint32(mask, m.mask()<<shift)
	binary.BigEndian.PutUint32(value, m.Value<<shift)
	return mask, value
}

// find returns a packet of the region that none of the rules matches. It tries one,
// and if a rule matches that, each way to keep out of that rule.
func (s *search) find(r region, rules []*Rule) (Packet, bool) {
	if s.steps--; s.steps <= 0 {
		return Packet{}, false
	}
	p, ok := r.packet()
	if !ok {
		return Packet{}, false
	}
	at := slices.IndexFunc(rules, func(rule *Rule) bool { return rule.takes(p) })
	if at < 0 {
		return p, true
	}
	for out := range r.outside(rules[at]) {
		if p, ok := s.find(out, rules); ok {
			return p, true
		}
	}
	return Packet{}, false
}

// outside yields regions that together are what of r the rule does not match.
func (r region) outside(rule *Rule) func(yield func(region) bool) {
	return func(yield func(region) bool) {
		if len(rule.Protocols) > 0 && !slices.Contains(rule.Protocols, r.proto) {
			return
		}
		for field, cut := range [...]spans{
			atDst: prefixSpans(rule.VIPs, r.v4), atSrc: sourceSpans(rule, r.v4),
			atSrcPort: portSpans(rule.SourcePorts), atDstPort: portSpans(rule.DestinationPorts),
		} {
			if len(cut) == 0 {
				continue
			}
			if left := r.field[field].minus(cut); len(left) > 0 {
				out := r
				out.field[field] = left
				if !yield(out) {
					return
				}
			}
		}
		for _, m := range rule.ByteMatches {
			if m.Protocol == r.proto && !r.outsideMatch(m, yield) {
				return
			}
		}
	}
}

// outsideMatch is outside for one byte match: a header that is too short, or
// another value of one of the bits.
func (r region) outsideMatch(m ByteMatch, yield func(region) bool) bool {
	out := r
	end := int(m.Offset) + int(m.Width)
	if out.field[atLength] = r.field[atLength].minus(spans{{small(end), small(headerMost)}}); len(out.field[atLength]) > 0 && !yield(out) {
		return false
	}
	mask, value := m.bytes()
	for i := range 8 * int(m.Width) {
		at, bit := int(m.Offset)+i/8, byte(0x80>>(i%8))
		if mask[i/8]&bit == 0 || r.known[at]&bit != 0 {
			continue
		}
		out := r
		out.known[at] |= bit
		out.value[at] |= ^value[i/8] & bit
		if !yield(out) {
			return false
		}
	}
	return true
}

// Sources of packets when a rule names none, of the networks for examples (RFC
// 5737, RFC 3849).
var preferred = map[bool]netip.Addr{
	true: netip.MustParseAddr("192.0.2.99"), false: netip.MustParseAddr("2001:db8::99"),
}

// packet returns one of the region.
func (r region) packet() (Packet, bool) {
	sport, ok1 := r.port(atSrcPort, 0, 40000)
	dport, ok2 := r.port(atDstPort, 2, r.field[atDstPort][0].first.lo)
	if !ok1 || !ok2 {
		return Packet{}, false
	}
	src := r.field[atSrc][0].first
	if want := numberOf(preferred[r.v4]); r.field[atSrc].has(want) {
		src = want
	}
	length := r.field[atLength]
	header := slices.Clone(r.value[:length[len(length)-1].last.lo])
	binary.BigEndian.PutUint16(header, sport)
	binary.BigEndian.PutUint16(header[2:], dport)
	return Packet{
		Src: src.addr(r.v4), Dst: r.field[atDst][0].first.addr(r.v4),
		Protocol: r.proto, SrcPort: sport, DstPort: dport, Header: header,
	}, true
}

// port returns a port of a field that agrees with the known bits of the header.
func (r region) port(field, at int, want uint64) (uint16, bool) {
	known, value := binary.BigEndian.Uint16(r.known[at:]), binary.BigEndian.Uint16(r.value[at:])
	if p := uint16(want); r.field[field].has(small(int(p))) && p&known == value {
		return p, true
	}
	for _, part := range r.field[field] {
		for p := part.first.lo; p <= part.last.lo; p++ {
			if uint16(p)&known == value {
				return uint16(p), true
			}
		}
	}
	return 0, false
}

// takes says that the rule matches a packet.
func (r *Rule) takes(p Packet) bool {
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	within := func(list []PortRange, port uint16) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(r PortRange) bool { return r.First <= port && port <= r.Last })
	}
	return in(r.VIPs, p.Dst) && (len(r.Sources) == 0 || in(r.Sources, p.Src)) &&
		(len(r.Protocols) == 0 || slices.Contains(r.Protocols, p.Protocol)) &&
		within(r.SourcePorts, p.SrcPort) && within(r.DestinationPorts, p.DstPort) &&
		!slices.ContainsFunc(r.ByteMatches, func(m ByteMatch) bool { return m.contradicts(p) })
}

func (m ByteMatch) contradicts(p Packet) bool {
	if m.Protocol != p.Protocol {
		return false
	}
	end := int(m.Offset) + int(m.Width)
	if end > len(p.Header) {
		return true
	}
	var have uint32
	for _, b := range p.Header[m.Offset:end] {
		have = have<<8 | uint32(b)
	}
	return have&m.mask() != m.Value
}
