// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
)

// Mismatch is a flow of the packet's VIP that does not match it.
type Mismatch struct {
	Flow     string
	Priority int32
	Stream   string
	Field    string // the first that differs, as manifests spell it
	Reason   string
}

// key is what flows match.
type key struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	l4           []byte // what byte matches see of the transport header and payload
}

// vipOf returns the longest prefix that contains an address.
func vipOf(c *balancer.Config, a netip.Addr) (netip.Prefix, bool) {
	best, found := netip.Prefix{}, false
	for _, p := range c.VIPs {
		if p.Contains(a) && (!found || p.Bits() > best.Bits()) {
			best, found = p, true
		}
	}
	return best, found
}

// flowsOf returns the flows of an address, in the order of precedence.
func flowsOf(c *balancer.Config, a netip.Addr) []*balancer.Flow {
	var flows []*balancer.Flow
	for i := range c.Flows {
		if slices.ContainsFunc(c.Flows[i].Rule.VIPs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			flows = append(flows, &c.Flows[i])
		}
	}
	slices.SortFunc(flows, func(a, b *balancer.Flow) int {
		return cmp.Or(cmp.Compare(b.Rule.Priority, a.Rule.Priority), strings.Compare(a.Rule.Name, b.Rule.Name))
	})
	return flows
}

// match returns the flow that a packet belongs to, nil if there is none, and
// those of the same VIP that come before it.
func match(c *balancer.Config, k key) (*balancer.Flow, []Mismatch) {
	var passed []Mismatch
	for _, f := range flowsOf(c, k.dst) {
		field, why := differs(&f.Rule, k)
		if field == "" {
			return f, passed
		}
		passed = append(passed, Mismatch{
			Flow: f.Rule.Name, Priority: f.Rule.Priority, Stream: f.Stream, Field: field, Reason: why,
		})
	}
	return nil, passed
}

// differs returns the first field of a rule that does not match, and why; ""
// if all match.
func differs(r *classify.Rule, k key) (field, why string) {
	contains := func(p netip.Prefix) bool { return p.Contains(k.src) }
	switch {
	case len(r.Sources) > 0 && !slices.ContainsFunc(r.Sources, contains):
		return "source-subnets", fmt.Sprintf("%s is not in %s", k.src, list(r.Sources, netip.Prefix.String))
	case !inPorts(r.SourcePorts, k.sport):
		return "source-ports", fmt.Sprintf("%d is not in %s", k.sport, list(r.SourcePorts, ports))
	case !inPorts(r.DestinationPorts, k.dport):
		return "destination-ports", fmt.Sprintf("%d is not in %s", k.dport, list(r.DestinationPorts, ports))
	case len(r.Protocols) > 0 && !slices.Contains(r.Protocols, k.proto):
		return "protocols", fmt.Sprintf("%s is not in %s", ProtocolName(k.proto), list(r.Protocols, ProtocolName))
	}
	for i, m := range r.ByteMatches {
		if why := contradicts(m, k); why != "" {
			return fmt.Sprintf("byte-matches[%d]", i), why
		}
	}
	return "", ""
}

func inPorts(ranges []classify.PortRange, port uint16) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r classify.PortRange) bool {
		return r.First <= port && port <= r.Last
	})
}

// contradicts says why a byte match does not hold, "" if it does. It says
// nothing about packets of other protocols.
func contradicts(m classify.ByteMatch, k key) string {
	if m.Protocol != k.proto {
		return ""
	}
	spelled := fmt.Sprintf("%s[%d:%d]", ProtocolName(m.Protocol), m.Offset, m.Width)
	end := int(m.Offset) + int(m.Width)
	if end > len(k.l4) {
		return fmt.Sprintf("%s reaches beyond the %d bytes that there are", spelled, len(k.l4))
	}
	var have uint32
	for _, b := range k.l4[m.Offset:end] {
		have = have<<8 | uint32(b)
	}
	masked := have
	if m.Mask != 0 {
		masked &= m.Mask
		spelled += fmt.Sprintf(" & %#x", m.Mask)
	}
	if masked == m.Value {
		return ""
	}
	return fmt.Sprintf("%s = %#x, the packet has %#x", spelled, m.Value, masked)
}

// listed is how many values of a field are spelled out.
const listed = 4

func list[T any](values []T, spell func(T) string) string {
	var out []string
	for _, v := range values[:min(len(values), listed)] {
		out = append(out, spell(v))
	}
	if more := len(values) - listed; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

func ports(r classify.PortRange) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}
