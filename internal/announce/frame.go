// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

var errNoFrame = errors.New("no packet can be made that a flow of the VIP matches")

// Where probes come from if a flow does not say: addresses and a port that are
// nobody's (RFC 5737, RFC 3849).
var (
	source4 = netip.MustParseAddr("192.0.2.1")
	source6 = netip.MustParseAddr("2001:db8::1")
)

const (
	sourcePort      = 40000
	destinationPort = 80
	transportLen    = 20 // the longest header, TCP's
)

// contains: the flows of a range hold for the VIPs within it, too.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func covers(rule *classify.Rule, vip netip.Prefix) bool {
	return slices.ContainsFunc(rule.VIPs, func(p netip.Prefix) bool { return contains(p, vip) })
}

// streamsOf returns the streams behind a VIP, sorted.
func streamsOf(config *balancer.Config, vip netip.Prefix) []string {
	var streams []string
	for i := range config.Flows {
		if covers(&config.Flows[i].Rule, vip) {
			streams = append(streams, config.Flows[i].Stream)
		}
	}
	slices.Sort(streams)
	return slices.Compact(streams)
}

// frames returns a packet to the VIP for each of its flows that leads to a stream
// with targets, those of the highest priority first. The link-layer addresses are
// zero.
func frames(config *balancer.Config, vip netip.Prefix, served func(string) bool) [][]byte {
	var flows []*balancer.Flow
	for i := range config.Flows {
		if f := &config.Flows[i]; covers(&f.Rule, vip) && served(f.Stream) {
			flows = append(flows, f)
		}
	}
	slices.SortStableFunc(flows, func(a, b *balancer.Flow) int {
		return cmp.Or(cmp.Compare(b.Rule.Priority, a.Rule.Priority), cmp.Compare(a.Rule.Name, b.Rule.Name))
	})
	var out [][]byte
	for _, f := range flows {
		if frame := frameOf(&f.Rule, vip.Addr()); frame != nil {
			out = append(out, frame)
		}
	}
	return out
}

// frameOf returns a packet that the rule matches, nil if it matches none of the
// address's family.
func frameOf(rule *classify.Rule, vip netip.Addr) []byte {
	source, ok := sourceOf(rule.Sources, vip.Is4())
	if !ok {
		return nil
	}
	protocol := protocolOf(rule)
	sport, dport := portOf(rule.SourcePorts, sourcePort), portOf(rule.DestinationPorts, destinationPort)
	size := transportLen
	for _, m := range rule.ByteMatches {
		size = max(size, int(m.Offset)+int(m.Width))
	}
	transport := make([]byte, size)
	binary.BigEndian.PutUint16(transport, sport)
	binary.BigEndian.PutUint16(transport[2:], dport)
	switch protocol {
	case packet.TCP:
		transport[12], transport[13] = 5<<4, packet.SYN
	case packet.UDP:
		binary.BigEndian.PutUint16(transport[4:], uint16(size))
	}
	for _, m := range rule.ByteMatches {
		var value [4]byte
		binary.BigEndian.PutUint32(value[:], m.Value)
		copy(transport[m.Offset:], value[4-m.Width:])
	}
	return packet.IP{Src: source, Dst: vip}.Packet(packet.Ethernet{}, protocol, transport)
}

func protocolOf(rule *classify.Rule) uint8 {
	if len(rule.ByteMatches) > 0 {
		return rule.ByteMatches[0].Protocol
	}
	if len(rule.Protocols) > 0 {
		return rule.Protocols[0]
	}
	return packet.UDP
}

func sourceOf(prefixes []netip.Prefix, is4 bool) (netip.Addr, bool) {
	nobody := source6
	if is4 {
		nobody = source4
	}
	if len(prefixes) == 0 {
		return nobody, true
	}
	for _, p := range prefixes {
		if p.Addr().Is4() != is4 {
			continue
		}
		if p.Contains(nobody) {
			return nobody, true
		}
		if next := p.Addr().Next(); p.Contains(next) {
			return next, true
		}
		return p.Addr(), true
	}
	return netip.Addr{}, false
}

func portOf(ranges []classify.PortRange, usual uint16) uint16 {
	if len(ranges) == 0 {
		return usual
	}
	for _, r := range ranges {
		if r.First <= usual && usual <= r.Last {
			return usual
		}
	}
	return max(ranges[0].First, min(1, ranges[0].Last))
}
