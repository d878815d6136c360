// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/weft-project/weft/internal/classify"
)

// portIndex finds, by protocol, an object that has to do with a port of a VIP or
// of any VIP that overlaps with it.
type portIndex map[uint8]*protocolPorts

type protocolPorts struct {
	ranges  map[netip.Prefix][]portOwner // own of each prefix; after build sorted and disjoint
	within  map[netip.Prefix][]portOwner // of the prefixes within each, itself included
	lengths map[int]bool                 // of the prefixes
}

type portOwner struct {
	classify.PortRange
	doc *Document
}

// add makes the prefix known and its ports, if there are any. All that find is
// to be asked for must be known before build.
func (x portIndex) add(p netip.Prefix, protocol uint8, ports []classify.PortRange, doc *Document) {
	l := x[protocol]
	if l == nil {
		l = &protocolPorts{ranges: map[netip.Prefix][]portOwner{}, within: map[netip.Prefix][]portOwner{}, lengths: map[int]bool{}}
		x[protocol] = l
	}
	owners := l.ranges[p]
	for _, r := range ports {
		owners = append(owners, portOwner{r, doc})
	}
	l.ranges[p], l.lengths[p.Bits()] = owners, true
}

func (x portIndex) build() {
	for _, l := range x {
		l.build()
	}
}

func (l *protocolPorts) build() {
	order := make([]netip.Prefix, 0, len(l.ranges))
	for p := range l.ranges {
		order = append(order, p)
		l.ranges[p] = disjoint(l.ranges[p])
	}
	slices.SortFunc(order, func(a, b netip.Prefix) int { // those around others first
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for _, p := range slices.Backward(order) {
		all := disjoint(append(l.within[p], l.ranges[p]...))
		l.within[p] = all
		if parent, ok := l.around(p); ok && len(all) > 0 {
			l.within[parent] = append(l.within[parent], all...)
		}
	}
}

// around returns the longest known prefix around p.
func (l *protocolPorts) around(p netip.Prefix) (netip.Prefix, bool) {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if !l.lengths[bits] {
			continue
		}
		parent, _ := p.Addr().Prefix(bits) // bits fit
		if _, ok := l.ranges[parent]; ok {
			return parent, true
		}
	}
	return netip.Prefix{}, false
}

// find returns the object, or nil.
func (x portIndex) find(p netip.Prefix, protocol uint8, port uint16) *Document {
	l := x[protocol]
	if l == nil {
		return nil
	}
	if d := ownerOf(l.within[p], port); d != nil {
		return d
	}
	for {
		parent, ok := l.around(p)
		if !ok {
			return nil
		}
		if d := ownerOf(l.ranges[parent], port); d != nil {
			return d
		}
		p = parent
	}
}

func ownerOf(sorted []portOwner, port uint16) *Document {
	i := sort.Search(len(sorted), func(i int) bool { return sorted[i].Last >= port })
	if i < len(sorted) && sorted[i].First <= port {
		return sorted[i].doc
	}
	return nil
}

// disjoint returns the same ports as sorted ranges that do not overlap. A port
// that several own stays with the one whose range starts first.
func disjoint(owners []portOwner) []portOwner {
	slices.SortStableFunc(owners, func(a, b portOwner) int { return cmp.Compare(a.First, b.First) })
	next := 0 // the first port that is not covered
	out := owners[:0]
	for _, o := range owners {
		if int(o.Last) < next {
			continue
		}
		o.First = uint16(max(int(o.First), next))
		next = int(o.Last) + 1
		out = append(out, o)
	}
	return out
}
