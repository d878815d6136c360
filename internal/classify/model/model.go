// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sort"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Verdicts, by their names in metrics.
const (
	Forwarded      = "forwarded"
	ReplyForwarded = "reply_forwarded"
	ARPAnswered    = "arp_answered"
	NDAnswered     = "nd_answered"
	PassNotIP      = "pass_not_ip"
	PassVLAN       = "pass_vlan"
	PassNotHost    = "pass_not_host"
	PassARP        = "pass_arp"
	PassNotVIP     = "pass_not_vip"
	PassReply      = "pass_reply"
	Malformed      = "malformed"
	NoFlow         = "no_flow"
	NoTarget       = "no_target"
	TTLExpired     = "ttl_expired"
	Fragment       = "fragment"
	ICMP           = "icmp"
	Protocol       = "protocol"
	Extension      = "extension_headers"
	NoGateway      = "no_gateway"
)

// Target is where a target's frames go.
type Target struct{ MAC, LegMAC packet.MAC }

// World is all that a decision depends on.
type World struct {
	Set     classify.Set
	Tables  map[uint32][]uint16 // by stream; slots hold target ids, 0 is none
	Targets map[uint16]Target
	MAC     packet.MAC // of the external interface
	VLAN    uint16     // of the external interface, 0: untagged
}

// Decision is a verdict and what led to it.
type Decision struct {
	Verdict string
	Stream  uint32
	Target  uint16
	Frame   []byte // as it leaves; nil when dropped
}

// Decide says what becomes of a frame that the external interface receives.
func (w World) Decide(frame []byte) Decision {
	p, err := packet.Parse(frame)
	if v := w.link(p, err); v != "" {
		return w.leave(v, frame, p)
	}
	switch {
	case p.ARP != nil && p.ARP.Op == packet.ARPRequest:
		return w.arp(frame, p)
	case p.EtherType == packet.EtherARP:
		return w.leave(PassARP, frame, p)
	case solicitation(frame, p, err):
		return w.nd(frame, p)
	case p.Ethernet.Dst != w.MAC:
		return w.leave(PassNotHost, frame, p)
	case !w.isVIP(p.Dst):
		return w.leave(PassNotVIP, frame, p)
	}
	if v := transport(p, err); v != "" {
		return Decision{Verdict: v}
	}
	rule := w.rule(frame, p)
	if rule == nil {
		return Decision{Verdict: NoFlow}
	}
	d := Decision{Verdict: NoTarget, Stream: rule.Stream}
	table := w.Tables[rule.Stream]
	if len(table) == 0 {
		return d
	}
	hash := packet.FlowHash(p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort)
	id := table[packet.HashPick(hash, uint32(len(table)))]
	target, ok := w.Targets[id]
	if !ok {
		return d
	}
	d.Target = id
	if p.TTL <= 1 {
		d.Verdict = TTLExpired
		return d
	}
	d.Verdict = Forwarded
	d.Frame = age(packet.Ethernet{Dst: target.MAC, Src: target.LegMAC}.Frame(p.EtherType, frame[p.L3:]))
	return d
}

// Reply says what becomes of a frame from a leg; Frame is as it goes to the
// neighbour layer.
func (w World) Reply(frame []byte) Decision {
	p, err := packet.Parse(frame)
	untagged := w
	untagged.VLAN = 0
	switch v := untagged.link(p, err); {
	case v == Malformed:
		return Decision{Verdict: v}
	case v != "":
		return Decision{Verdict: v, Frame: frame}
	case p.EtherType == packet.EtherARP && (p.ARP == nil || p.ARP.Op != packet.ARPRequest):
		return Decision{Verdict: PassARP, Frame: frame}
	case p.EtherType == packet.EtherARP, solicitation(frame, p, err), !w.isVIP(p.Src):
		return Decision{Verdict: PassReply, Frame: frame}
	case transport(p, err) == Malformed:
		return Decision{Verdict: Malformed}
	}
	if len(w.Gateways(p.Src.Is4())) == 0 {
		return Decision{Verdict: NoGateway}
	}
	if p.TTL <= 1 {
		return Decision{Verdict: TTLExpired}
	}
	return Decision{
		Verdict: ReplyForwarded,
		Frame:   age(packet.Ethernet{Dst: p.Ethernet.Dst, Src: p.Ethernet.Src}.Frame(p.EtherType, frame[p.L3:])),
	}
}

// Gateways returns the gateways of a family.
func (w World) Gateways(v4 bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(w.Set.Gateways), func(a netip.Addr) bool { return a.Is4() != v4 })
}

// link is the verdict on the link layer, "" if the frame concerns us.
func (w World) link(p packet.Packet, err error) string {
	if errors.Is(err, packet.ErrEthernet) && len(p.Tags) == 0 {
		return Malformed
	}
	ours := w.VLAN == 0
	for _, t := range p.Tags {
		switch vid := t.TCI & 0xfff; {
		case vid == 0: // a priority tag
		case vid != w.VLAN:
			return PassVLAN
		default:
			ours = true
		}
	}
	switch {
	case errors.Is(err, packet.ErrEthernet):
		return Malformed
	case !ours, errors.Is(err, packet.ErrTags):
		return PassVLAN
	case errors.Is(err, packet.ErrNetwork):
		return Malformed
	case p.EtherType == packet.EtherIPv4, p.EtherType == packet.EtherIPv6, p.EtherType == packet.EtherARP:
		return ""
	}
	return PassNotIP
}

// leave is a frame left to the stack, without the tags of the configured VLAN.
func (w World) leave(verdict string, frame []byte, p packet.Packet) Decision {
	if verdict == Malformed {
		return Decision{Verdict: verdict}
	}
	if verdict != PassVLAN && w.VLAN != 0 {
		frame = packet.Ethernet{Dst: p.Ethernet.Dst, Src: p.Ethernet.Src}.Frame(p.EtherType, frame[p.L3:])
	}
	return Decision{Verdict: verdict, Frame: frame}
}

// transport is why a packet to a VIP cannot be classified, "" if it can.
func transport(p packet.Packet, err error) string {
	switch {
	case errors.Is(err, packet.ErrExtension):
		return Extension
	case err != nil:
		return Malformed
	case p.Fragment:
		return Fragment
	case p.Proto == packet.ICMP, p.Proto == packet.ICMPv6:
		return ICMP
	case p.Proto == packet.TCP, p.Proto == packet.UDP, p.Proto == packet.SCTP:
		return ""
	}
	return Protocol
}

func (w World) isVIP(a netip.Addr) bool {
	return slices.ContainsFunc(w.Set.VIPs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// rule returns the rule that wins.
func (w World) rule(frame []byte, p packet.Packet) *classify.Rule {
	var match []*classify.Rule
	for i := range w.Set.Rules {
		if r := &w.Set.Rules[i]; matches(r, frame, p) {
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

func matches(r *classify.Rule, frame []byte, p packet.Packet) bool {
	in := func(a netip.Addr) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return p.Contains(a) }
	}
	within := func(port uint16) func(classify.PortRange) bool {
		return func(r classify.PortRange) bool { return r.First <= port && port <= r.Last }
	}
	return slices.ContainsFunc(r.VIPs, in(p.Dst)) &&
		(len(r.Sources) == 0 || slices.ContainsFunc(r.Sources, in(p.Src))) &&
		(len(r.SourcePorts) == 0 || slices.ContainsFunc(r.SourcePorts, within(p.SrcPort))) &&
		(len(r.DestinationPorts) == 0 || slices.ContainsFunc(r.DestinationPorts, within(p.DstPort))) &&
		(len(r.Protocols) == 0 || slices.Contains(r.Protocols, p.Proto)) &&
		!slices.ContainsFunc(r.ByteMatches, func(m classify.ByteMatch) bool { return contradicts(m, frame, p) })
}

func contradicts(m classify.ByteMatch, frame []byte, p packet.Packet) bool {
	if m.Protocol != p.Proto {
		return false
	}
	var have uint32
	for _, b := range frame[p.L4+int(m.Offset):][:m.Width] {
		have = have<<8 | uint32(b)
	}
	if m.Mask != 0 {
		have &= m.Mask
	}
	return have != m.Value
}

// age takes one from the TTL or hop limit of a frame without tags.
func age(frame []byte) []byte {
	ip := frame[14:]
	if ip[0]>>4 == 6 {
		ip[7]--
		return frame
	}
	// RFC 1624, equation 3; a wrong checksum stays wrong.
	before := binary.BigEndian.Uint16(ip[8:])
	ip[8]--
	sum := uint32(^binary.BigEndian.Uint16(ip[10:])) + uint32(^before) + uint32(binary.BigEndian.Uint16(ip[8:]))
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	return frame
}
