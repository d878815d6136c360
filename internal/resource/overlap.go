// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// flowMatch is what a flow matches, parsed, for comparison with other flows.
type flowMatch struct {
	doc       *Document
	spec      *v1alpha1.FlowSpec
	subnets   []netip.Prefix
	src, dst  []classify.PortRange
	protocols []string
}

// maxCompared bounds the flows of one vip and priority that are compared pair
// by pair, which is quadratic; this many take some 10 ms.
const maxCompared = 1000

// ambiguousFlows warns about two flows of one priority that match common
// traffic and lead to different streams: which of them wins depends on their
// names then.
func (s *set) ambiguousFlows() {
	type group struct {
		scope
		vip      string
		priority int32
	}
	groups := map[group][]*flowMatch{}
	var order []group
	for _, d := range s.docs {
		m := parseFlow(d)
		if m == nil {
			continue
		}
		for _, vip := range m.spec.Vips {
			g := group{scopeOf(d), vip, m.spec.Priority}
			if len(groups[g]) == 0 {
				order = append(order, g)
			}
			groups[g] = append(groups[g], m)
		}
	}
	// A pair of flows may share many vips; one warning is enough.
	warned := map[[2]*Document]bool{}
	for _, g := range order {
		if len(groups[g]) > maxCompared {
			continue
		}
		for b, m := range groups[g] {
			for _, o := range groups[g][:b] {
				pair := [2]*Document{o.doc, m.doc}
				if warned[pair] || m.spec.Stream == o.spec.Stream || !m.overlaps(o) {
					continue
				}
				warned[pair] = true
				s.at(m.doc).warnf("spec.priority", "flow %q has priority %d too, matches common traffic of vip %q and leads to stream %q; the name that sorts first wins",
					o.doc.Key().Name, g.priority, g.vip, o.spec.Stream)
			}
		}
	}
}

// parseFlow returns nil for what is not a flow, and for a flow that is not
// valid: that is reported already.
func parseFlow(d *Document) *flowMatch {
	o, ok := d.Object.(*v1alpha1.Flow)
	if !ok || len(o.Spec.ByteMatches) > 0 { // whether byte matches overlap is not decided here
		return nil
	}
	m := &flowMatch{doc: d, spec: &o.Spec, protocols: o.Spec.Protocols}
	for _, s := range o.Spec.SourceSubnets {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil
		}
		m.subnets = append(m.subnets, p)
	}
	var err error
	if m.src, err = parsePortRanges(o.Spec.SourcePorts); err != nil {
		return nil
	}
	if m.dst, err = parsePortRanges(o.Spec.DestinationPorts); err != nil {
		return nil
	}
	return m
}

// parsePortRanges returns the ranges sorted.
func parsePortRanges(ports []string) ([]classify.PortRange, error) {
	var out []classify.PortRange
	for _, s := range ports {
		r, err := ParsePortRange(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b classify.PortRange) int { return cmp.Compare(a.First, b.First) })
	return out, nil
}

func (m *flowMatch) overlaps(o *flowMatch) bool {
	return anyOverlap(m.protocols, o.protocols, func(a, b string) bool { return a == b }) &&
		anyOverlap(m.dst, o.dst, portsOverlap) &&
		anyOverlap(m.src, o.src, portsOverlap) &&
		anyOverlap(m.subnets, o.subnets, netip.Prefix.Overlaps)
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
