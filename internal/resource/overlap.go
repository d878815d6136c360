// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
)

// maxCompared bounds the pairs of flows that are compared, all in all; this many
// take some 100 ms.
const maxCompared = 1 << 20

// ambiguousFlows warns about two flows of one priority that match common
// traffic and treat it differently: which of them wins depends on their names
// then.
func (s *set) ambiguousFlows(flows []*flowMatch) {
	type group struct {
		conduitKey
		priority int32
	}
	groups := map[group][]*flowMatch{}
	var order []group
	for _, m := range flows {
		g := group{m.conduit, m.spec.Priority}
		if len(groups[g]) == 0 {
			order = append(order, g)
		}
		groups[g] = append(groups[g], m)
	}
	budget := maxCompared
	for _, g := range order {
		members := groups[g]
		if !slices.ContainsFunc(members, func(m *flowMatch) bool { return !m.sameFate(members[0]) }) {
			continue
		}
		complete := s.compareFlows(members, &budget)
		if !complete {
			s.at(members[len(members)-1].doc).warnf("spec.priority",
				"too many flows of priority %d match common ports, vips and subnets to compare them all; equal priorities that collide may be unreported", g.priority)
		}
	}
}

// sameFate reports whether it makes no difference which of the flows wins.
func (m *flowMatch) sameFate(o *flowMatch) bool {
	return m.spec.Stream == o.spec.Stream && m.spec.TargetPort == o.spec.TargetPort
}

// compareFlows warns about each flow that collides with one before it, once. It
// returns false if the budget of pairs did not suffice.
func (s *set) compareFlows(flows []*flowMatch, budget *int) (complete bool) {
	first := make([]int, len(flows)) // the first one that a flow collides with
	for i := range first {
		first[i] = i
	}
	complete = pairs(flows, func(a, b int) bool {
		if *budget--; *budget < 0 {
			return false
		}
		if a > b {
			a, b = b, a
		}
		if a < first[b] && !flows[a].sameFate(flows[b]) && flows[a].overlaps(flows[b]) {
			first[b] = a
		}
		return true
	})
	for b, a := range first {
		if a == b {
			continue
		}
		m, o := flows[b], flows[a]
		s.at(m.doc).warnf("spec.priority", "flow %q has priority %d too, matches common traffic of vip %q and %s; the name that sorts first wins",
			o.doc.Key().Name, o.spec.Priority, m.commonVIP(o), o.fate(m))
	}
	return complete
}

// fate says what happens to the traffic of m in which it differs from other.
func (m *flowMatch) fate(other *flowMatch) string {
	switch {
	case m.spec.Stream != other.spec.Stream:
		return fmt.Sprintf("leads to stream %q", m.spec.Stream)
	case m.spec.TargetPort == 0:
		return "has no target-port"
	}
	return fmt.Sprintf("has target-port %d", m.spec.TargetPort)
}

// smallGroup is how many flows are compared without looking for a better way.
const smallGroup = 32

// pairs calls visit with pairs of flows until it returns false, among them all
// that overlap: of the fields whose values can be sorted, that one decides which
// pairs are left out that leaves out most.
func pairs(flows []*flowMatch, visit func(a, b int) bool) bool {
	if len(flows) <= smallGroup {
		for b := range flows {
			for a := range b {
				if !visit(a, b) {
					return false
				}
			}
		}
		return true
	}
	var best []span
	least := math.MaxInt
	for _, field := range []func(*flowMatch) []span{
		func(m *flowMatch) []span { return portSpans(m.dst) },
		func(m *flowMatch) []span { return portSpans(m.src) },
		func(m *flowMatch) []span { return addressSpans(m.subnets) },
		func(m *flowMatch) []span {
			prefixes := make([]netip.Prefix, len(m.vips))
			for i, v := range m.vips {
				prefixes[i] = v.prefix
			}
			return addressSpans(prefixes)
		},
	} {
		var all []span
		for i, m := range flows {
			for _, sp := range field(m) {
				sp.flow = i
				all = append(all, sp)
			}
		}
		if n := overlapping(all); n < least {
			best, least = all, n
		}
	}
	return sweep(best, visit)
}

// span is a range of values of one field of a flow. Ports stand for themselves
// as IPv4 addresses.
type span struct {
	first, last netip.Addr
	flow        int
}

func portSpans(ranges []classify.PortRange) []span {
	if len(ranges) == 0 {
		ranges = []classify.PortRange{{First: 0, Last: math.MaxUint16}}
	}
	port := func(p uint16) netip.Addr { return netip.AddrFrom4([4]byte{2: byte(p >> 8), 3: byte(p)}) }
	out := make([]span, len(ranges))
	for i, r := range ranges {
		out[i] = span{first: port(r.First), last: port(r.Last)}
	}
	return out
}

func addressSpans(prefixes []netip.Prefix) []span {
	if len(prefixes) == 0 { // all addresses: IPv4 sorts before IPv6
		return []span{{first: netip.IPv4Unspecified(), last: lastAddress(netip.PrefixFrom(netip.IPv6Unspecified(), 0))}}
	}
	out := make([]span, len(prefixes))
	for i, p := range prefixes {
		out[i] = span{first: p.Addr(), last: lastAddress(p)}
	}
	return out
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// overlapping sorts the spans by where they start and counts the pairs of them
// that overlap.
func overlapping(spans []span) int {
	slices.SortFunc(spans, func(a, b span) int { return a.first.Compare(b.first) })
	ends := make([]netip.Addr, len(spans))
	for i, s := range spans {
		ends[i] = s.last
	}
	slices.SortFunc(ends, netip.Addr.Compare)
	n, ended := 0, 0
	for i, s := range spans {
		for ends[ended].Less(s.first) {
			ended++
		}
		n += i - ended
	}
	return n
}

// sweep visits the pairs of sorted spans that overlap and are of two flows.
func sweep(spans []span, visit func(a, b int) bool) bool {
	var open []span
	for _, s := range spans {
		left := open[:0]
		for _, o := range open {
			if o.last.Less(s.first) {
				continue
			}
			left = append(left, o)
			if o.flow != s.flow && !visit(o.flow, s.flow) {
				return false
			}
		}
		open = append(left, s)
	}
	return true
}
