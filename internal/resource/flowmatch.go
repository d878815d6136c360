// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// conduitKey names a conduit of a trench.
type conduitKey struct {
	scope
	conduit string
}

// namedVIP is a Vip object and its address.
type namedVIP struct {
	name   string
	prefix netip.Prefix
}

// flowMatch is what a flow matches, parsed, for comparison with other flows.
type flowMatch struct {
	doc       *Document
	spec      *v1alpha1.FlowSpec
	conduit   conduitKey
	vips      []namedVIP
	subnets   []netip.Prefix
	src, dst  []classify.PortRange
	protocols []string               // without those that the byte matches rule out
	bytes     map[string]*matchBytes // by protocol; none: any bytes
}

// matchBytes is what byte matches demand of the bytes from the start of the L4
// header.
type matchBytes struct {
	mask, value [classify.MaxByteOffset + 4]byte
}

// flows returns the flows that lead to a conduit. A flow that is not valid is
// left out, and of a valid one the vips that are not: that is reported already.
func (s *set) flows() []*flowMatch {
	var out []*flowMatch
	for _, d := range s.docs {
		o, ok := d.Object.(*v1alpha1.Flow)
		if !ok {
			continue
		}
		stream, streamDoc := lookup[*v1alpha1.Stream](s, scopeOf(d), v1alpha1.KindStream, o.Spec.Stream)
		if streamDoc == nil || stream.Spec.Conduit == "" {
			continue
		}
		m := &flowMatch{doc: d, spec: &o.Spec, conduit: conduitKey{scopeOf(d), stream.Spec.Conduit}}
		m.vips = s.vips(scopeOf(d), o.Spec.Vips)
		if len(m.vips) > 0 && m.parse() {
			out = append(out, m)
		}
	}
	return out
}

// vips resolves the names of Vip objects as far as they are valid.
func (s *set) vips(sc scope, names []string) []namedVIP {
	out := make([]namedVIP, 0, len(names))
	for _, name := range names {
		vip, doc := lookup[*v1alpha1.Vip](s, sc, v1alpha1.KindVip, name)
		if doc == nil {
			continue
		}
		prefix, ok := s.addresses[vip]
		if !ok {
			prefix, _ = ParsePrefix(vip.Spec.Address)
			s.addresses[vip] = prefix
		}
		if prefix.IsValid() {
			out = append(out, namedVIP{name, prefix})
		}
	}
	return out
}

func (m *flowMatch) parse() (ok bool) {
	for _, s := range m.spec.SourceSubnets {
		p, err := ParsePrefix(s)
		if err != nil {
			return false
		}
		m.subnets = append(m.subnets, p)
	}
	var err error
	if m.src, err = parsePortRanges(m.spec.SourcePorts); err != nil {
		return false
	}
	if m.dst, err = parsePortRanges(m.spec.DestinationPorts); err != nil {
		return false
	}
	return m.parseBytes()
}

func (m *flowMatch) parseBytes() (ok bool) {
	m.protocols = m.spec.Protocols
	for _, s := range m.spec.ByteMatches {
		match, err := ParseByteMatch(s)
		if err != nil {
			return false
		}
		protocol := protocolNames[match.Protocol]
		if m.bytes == nil {
			m.bytes = map[string]*matchBytes{}
		}
		if m.bytes[protocol] == nil {
			m.bytes[protocol] = &matchBytes{}
		}
		if !m.bytes[protocol].add(match) {
			m.protocols = slices.DeleteFunc(slices.Clone(m.protocols), func(p string) bool { return p == protocol })
		}
	}
	return true
}

var protocolNames = map[uint8]string{classify.TCP: v1alpha1.TCP, classify.UDP: v1alpha1.UDP, classify.SCTP: v1alpha1.SCTP}

// add demands one match more. It returns false if no bytes satisfy all.
func (b *matchBytes) add(m classify.ByteMatch) bool {
	possible := true
	for i := range m.Width {
		at, shift := m.Offset+i, 8*(m.Width-1-i)
		mask, value := byte(m.Mask>>shift), byte(m.Value>>shift)
		possible = possible && (b.value[at]^value)&b.mask[at]&mask == 0
		b.mask[at] |= mask
		b.value[at] |= value
	}
	return possible
}

// disjoint reports whether one bit is to be 0 for b and 1 for o, or the reverse.
func (b *matchBytes) disjoint(o *matchBytes) bool {
	if b == nil || o == nil {
		return false
	}
	for i := range b.mask {
		if (b.value[i]^o.value[i])&b.mask[i]&o.mask[i] != 0 {
			return true
		}
	}
	return false
}

// parsePortRanges parses all ports or none.
func parsePortRanges(ports []string) ([]classify.PortRange, error) {
	var out []classify.PortRange
	for _, s := range ports {
		r, err := ParsePortRange(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// overlaps reports whether there may be a packet that both match.
func (m *flowMatch) overlaps(o *flowMatch) bool {
	return m.commonVIP(o) != "" &&
		anyOverlap(m.dst, o.dst, portsOverlap) &&
		anyOverlap(m.src, o.src, portsOverlap) &&
		anyOverlap(m.subnets, o.subnets, netip.Prefix.Overlaps) &&
		slices.ContainsFunc(m.protocols, func(p string) bool {
			return slices.Contains(o.protocols, p) && !m.bytes[p].disjoint(o.bytes[p])
		})
}

// commonVIP returns the name of a vip that shares addresses with one of o's.
func (m *flowMatch) commonVIP(o *flowMatch) string {
	for _, a := range m.vips {
		for _, b := range o.vips {
			if a.prefix.Overlaps(b.prefix) {
				return a.name
			}
		}
	}
	return ""
}

// anyOverlap reports whether an element of a and one of b overlap. An empty
// list means any.
func anyOverlap[T any](a, b []T, overlap func(T, T) bool) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, x := range a {
		for _, y := range b {
			if overlap(x, y) {
				return true
			}
		}
	}
	return false
}
