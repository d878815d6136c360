// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"fmt"
	"slices"
)

// edge is a port where rules begin or cease to match.
type edge struct {
	port int
	rule int // bit position
	on   bool
}

// portClasses gives every port its class. A rule without ranges is in every
// row already by all.
func portClasses(ranges map[int][]PortRange, all bitset, r *rows) ([]uint16, error) {
	var edges []edge
	for rule, list := range ranges {
		for _, p := range mergePorts(list) {
			edges = append(edges, edge{int(p.First), rule, true}, edge{int(p.Last) + 1, rule, false})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.port - b.port })
	classes := make([]uint16, 65536)
	row := append(bitset(nil), all...)
	for port, i := 0, 0; port < 65536; {
		for ; i < len(edges) && edges[i].port == port; i++ {
			if edges[i].on {
				row.set(edges[i].rule)
			} else {
				row.clear(edges[i].rule)
			}
		}
		end := 65536
		if i < len(edges) {
			end = min(end, edges[i].port)
		}
		c := r.add(row)
		if c > 65535 {
			return nil, fmt.Errorf("ports: more than 65536 classes")
		}
		for ; port < end; port++ {
			classes[port] = uint16(c)
		}
	}
	return classes, nil
}

// mergePorts returns the same ports as sorted ranges that neither overlap nor
// touch.
func mergePorts(list []PortRange) []PortRange {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b PortRange) int { return int(a.First) - int(b.First) })
	var out []PortRange
	for _, p := range sorted {
		if n := len(out); n > 0 && int(p.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}

// portTable writes classes as 256 pages of 256, equal pages once. The pages are
// those of the high byte of the port.
func (b *blob) portTable(classes []uint16) uint32 {
	var offsets [256]uint32
	seen := make(map[[256]uint16]uint32)
	for i := range offsets {
		page := [256]uint16(classes[256*i:])
		at, ok := seen[page]
		if !ok {
			at = b.align(64)
			b.u16(page[:]...)
			seen[page] = at
		}
		offsets[i] = at
	}
	table := b.align(64)
	b.u32(offsets[:]...)
	return table
}
