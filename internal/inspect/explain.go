// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/packet"
)

// explanation is what the rules in force say about a frame.
type explanation struct {
	vip        netip.Prefix
	mismatches []Mismatch
	flow       *balancer.Flow // that matches
	slot, size uint32         // of the stream's table; size 0: not balanced
	port       uint16         // that the packet has when it leaves
	translated bool           // port is another than before
	// reasons are those that the program may give; none: that cannot be told.
	// Several when it depends on MTUs.
	reasons []string
	notes   []string
}

// ground is what explanations depend on.
type ground struct {
	config   *balancer.Config
	snapshot balancer.Snapshot
	mac      packet.MAC // of the external interface
	vlan     uint16
}

// outside explains a frame from outside.
func (g ground) outside(frame []byte, p packet.Packet, err error) (e explanation) {
	if why, ok := g.link(p, err); !ok {
		e.reasons = why
		if why == nil {
			e.notes = append(e.notes, "The rules say nothing about this kind of frame.")
		}
		return e
	}
	if p.Ethernet.Dst != g.mac {
		e.reasons = []string{"pass_not_host"}
		return e
	}
	vip, ok := vipOf(g.config, p.Dst)
	if !ok {
		e.reasons = []string{"pass_not_vip"}
		return e
	}
	e.vip = vip
	switch {
	case errors.Is(err, packet.ErrExtension):
		e.reasons = []string{"extension_headers"}
	case err != nil:
		e.reasons = []string{"malformed"}
	case p.Fragment.Later():
		e.notes = append(e.notes, "What becomes of a later fragment depends on the first one of its packet, which a trace does not remember.")
	case p.Proto == packet.ICMP && p.Dst.Is4(), p.Proto == packet.ICMPv6 && !p.Dst.Is4():
		g.icmp(&e, frame, p)
	case p.Proto == packet.TCP, p.Proto == packet.UDP, p.Proto == packet.SCTP:
		g.balance(&e, p, key{
			src: p.Src, dst: p.Dst, proto: p.Proto, sport: p.SrcPort, dport: p.DstPort, l4: frame[p.L4 : p.L4+p.L4Len],
		}, "forwarded")
	default:
		e.reasons = []string{"protocol"}
	}
	return e
}

// link says whether the frame is an IP packet for the load balancer, and if not,
// what the program may say about it.
func (g ground) link(p packet.Packet, err error) ([]string, bool) {
	if errors.Is(err, packet.ErrEthernet) || errors.Is(err, packet.ErrNetwork) {
		return nil, false
	}
	ours := g.vlan == 0
	for _, t := range p.Tags {
		switch vid := t.TCI & 0xfff; {
		case vid == 0: // a priority tag
		case vid != g.vlan:
			return []string{"pass_vlan"}, false
		default:
			ours = true
		}
	}
	switch {
	case !ours, errors.Is(err, packet.ErrTags):
		return []string{"pass_vlan"}, false
	case p.EtherType == packet.EtherARP:
		return nil, false
	case p.EtherType != packet.EtherIPv4 && p.EtherType != packet.EtherIPv6:
		return []string{"pass_not_ip"}, false
	case p.Proto == packet.ICMPv6 && p.Type == packet.NDSolicitation:
		return nil, false
	}
	return nil, true
}

// icmp explains ICMP to a VIP.
func (g ground) icmp(e *explanation, frame []byte, p packet.Packet) {
	request := packet.EchoRequestV4
	if p.Proto == packet.ICMPv6 {
		request = packet.EchoRequestV6
	}
	switch {
	case p.Type == request && p.Code == 0:
		e.reasons = []string{"no_target"}
		for _, f := range flowsOf(g.config, p.Dst) {
			if len(g.snapshot.Stream(f.Stream).Targets) > 0 {
				e.reasons = []string{"echo_answered"}
			}
		}
		e.notes = append(e.notes, "A VIP answers pings while a stream that one of its flows leads to has a target.")
	case packet.ICMPError(p.Proto, p.Type):
		q, ok := packet.ParseQuote(frame[p.L4:p.L4+p.L4Len], p.Dst.Is4())
		if !ok || q.Src != p.Dst {
			e.reasons = []string{"icmp"}
			e.notes = append(e.notes, "The error quotes no TCP, UDP or SCTP packet from the VIP with 8 bytes of its transport header.")
			return
		}
		// Turned round, it is the packet that the client would have sent.
		quoted := frame[p.L4+q.L4:]
		e.notes = append(e.notes, "An ICMP error goes where the packets go that the quoted one answers.")
		g.balance(e, p, key{
			src: q.Dst, dst: q.Src, proto: q.Proto, sport: q.DstPort, dport: q.SrcPort,
			l4: []byte{quoted[2], quoted[3], quoted[0], quoted[1]},
		}, "icmp_forwarded")
	default:
		e.reasons = []string{"icmp"}
	}
}

// balance explains what becomes of a packet that can be classified.
func (g ground) balance(e *explanation, p packet.Packet, k key, good string) {
	e.flow, e.mismatches = match(g.config, k)
	if e.flow == nil {
		e.reasons = []string{"no_flow"}
		if len(e.mismatches) == 0 {
			e.notes = append(e.notes, "No flow has this VIP.")
		}
		return
	}
	stream := g.snapshot.Stream(e.flow.Stream)
	if len(stream.Targets) == 0 {
		e.reasons = []string{"no_target"}
		return
	}
	e.size = stream.TableSize
	e.slot = packet.HashPick(packet.FlowHash(k.src, k.dst, k.proto, k.sport, k.dport), e.size)
	e.port = g.inward(e, k)
	e.translated = e.port != k.dport
	e.finish(p, good)
}

// finish tells what may still happen to a packet whose way is known.
func (e *explanation) finish(p packet.Packet, good string) {
	switch {
	case p.TTL <= 1:
		e.reasons = []string{"ttl_expired"}
		return
	case e.translated && p.Proto == packet.SCTP && p.Fragment.First():
		good = "nat"
	}
	long := "fragmented"
	if !p.Src.Is4() || p.DontFragment {
		long = "too_big"
	}
	e.reasons = []string{good, long}
}

// inward returns the port that the target sees.
func (g ground) inward(e *explanation, k key) uint16 {
	if port := e.flow.Rule.TargetPort; port != 0 {
		return port
	}
	best, port := -1, k.dport
	for _, n := range g.config.NATs {
		if around(n.VIP, e.vip, k.dst) && n.Protocol == k.proto && n.Port == k.dport && n.VIP.Bits() > best {
			best, port = n.VIP.Bits(), n.TargetPort
		}
	}
	return port
}

// around says that a VIP inherits from a prefix: it lies in it.
func around(prefix, vip netip.Prefix, a netip.Addr) bool {
	return prefix.Contains(a) && prefix.Bits() <= vip.Bits()
}

// reply explains a frame from a leg.
func (g ground) reply(p packet.Packet, err error) (e explanation) {
	untagged := g
	untagged.vlan = 0
	if why, ok := untagged.link(p, err); !ok {
		e.reasons = why
		return e
	}
	vip, ok := vipOf(g.config, p.Src)
	if !ok {
		e.reasons = []string{"pass_reply"}
		return e
	}
	e.vip = vip
	gateways := g.snapshot.Gateways.Default4
	if !p.Src.Is4() {
		gateways = g.snapshot.Gateways.Default6
	}
	routed := g.snapshot.Gateways.Table != 0
	switch {
	case errors.Is(err, packet.ErrLength), errors.Is(err, packet.ErrTransport):
		e.reasons = []string{"malformed"}
	case len(gateways) == 0 && !routed:
		e.reasons = []string{"no_gateway"}
	default:
		e.port = g.outward(e.vip, p)
		e.translated = e.port != p.SrcPort
		e.finish(p, "reply_forwarded")
		if routed {
			e.reasons = append(e.reasons, "no_route")
			e.notes = append(e.notes, "Routes that gateways have announced are looked at before the default gateways.")
		}
		if routed && len(gateways) == 0 {
			e.reasons = append(e.reasons, "no_gateway")
		}
	}
	return e
}

// outward returns the port that the client knows a target's port by.
func (g ground) outward(vip netip.Prefix, p packet.Packet) uint16 {
	best, port := -1, p.SrcPort
	consider := func(prefix netip.Prefix, outside, inside uint16) {
		if inside == p.SrcPort && around(prefix, vip, p.Src) && prefix.Bits() > best {
			best, port = prefix.Bits(), outside
		}
	}
	if p.Fragment.Later() || p.SrcPort == 0 {
		return port
	}
	for _, f := range g.config.Flows {
		r := &f.Rule
		if r.TargetPort == 0 || len(r.Protocols) > 0 && !slices.Contains(r.Protocols, p.Proto) {
			continue
		}
		for _, v := range r.VIPs {
			consider(v, r.DestinationPorts[0].First, r.TargetPort)
		}
	}
	for _, n := range g.config.NATs {
		if n.Protocol == p.Proto {
			consider(n.VIP, n.Port, n.TargetPort)
		}
	}
	return port
}
