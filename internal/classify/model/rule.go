// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/weft-project/weft/internal/classify"
)

// flow is what a packet is classified by.
type flow struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	header       []byte // from the transport header on, as much as there is
}

// rule returns the rule that wins.
func (w World) rule(f flow) *classify.Rule {
	var match []*classify.Rule
	for i := range w.Set.Rules {
		if r := &w.Set.Rules[i]; matches(r, f) {
			match = append(match, r)
		}
	}
	sort.Slice(match, func(i, j int) bool {
		if match[i].Priority != match[j].Priority {
			return match[i].Priority > match[j].Priority
		}
		return match[i].Name < match[j].Name
	})
	if len(match) == 0 {
		return nil
	}
	return match[0]
}

func matches(r *classify.Rule, f flow) bool {
	within := func(port uint16) func(classify.PortRange) bool {
		return func(r classify.PortRange) bool { return r.First <= port && port <= r.Last }
	}
	return contains(r.VIPs, f.dst) &&
		(len(r.Sources) == 0 || contains(r.Sources, f.src)) &&
		(len(r.SourcePorts) == 0 || slices.ContainsFunc(r.SourcePorts, within(f.sport))) &&
		(len(r.DestinationPorts) == 0 || slices.ContainsFunc(r.DestinationPorts, within(f.dport))) &&
		(len(r.Protocols) == 0 || slices.Contains(r.Protocols, f.proto)) &&
		!slices.ContainsFunc(r.ByteMatches, func(m classify.ByteMatch) bool { return contradicts(m, f) })
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func contradicts(m classify.ByteMatch, f flow) bool {
	if m.Protocol != f.proto {
		return false
	}
	if int(m.Offset)+int(m.Width) > len(f.header) {
		return true
	}
	var have uint32
	for _, b := range f.header[m.Offset:][:m.Width] {
		have = have<<8 | uint32(b)
	}
	if m.Mask != 0 {
		have &= m.Mask
	}
	return have != m.Value
}
