// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Verdicts, by their names in metrics.
const (
	Forwarded         = "forwarded"
	FragmentForwarded = "fragment_forwarded"
	ICMPForwarded     = "icmp_forwarded"
	ReplyForwarded    = "reply_forwarded"
	ARPAnswered       = "arp_answered"
	NDAnswered        = "nd_answered"
	EchoAnswered      = "echo_answered"

	FragmentParked = "fragment_parked" // by the slow path, until the first one comes
	Fragmented     = "fragmented"      // by the slow path

	PassNotIP   = "pass_not_ip"
	PassVLAN    = "pass_vlan"
	PassNotHost = "pass_not_host"
	PassARP     = "pass_arp"
	PassNotVIP  = "pass_not_vip"
	PassReply   = "pass_reply"

	Malformed  = "malformed"
	NoFlow     = "no_flow"
	NoTarget   = "no_target"
	TTLExpired = "ttl_expired"
	TooBig     = "too_big"
	Fragment   = "fragment"
	ICMP       = "icmp"
	Protocol   = "protocol"
	Extension  = "extension_headers"
	NAT        = "nat"
	NoGateway  = "no_gateway"
	NoRoute    = "no_route"
)

// Target is where a target's frames go.
type Target struct {
	MAC, LegMAC packet.MAC
	MTU         uint16 // longest IP packet of the leg; 0: unlimited
}

// World is all that a decision depends on.
type World struct {
	Set     classify.Set
	Tables  map[uint32][]uint16 // by stream; slots hold target ids, 0 is none
	Targets map[uint16]Target
	MAC     packet.MAC // of the external interface
	VLAN    uint16     // of the external interface, 0: untagged
	// Gateways4 and Gateways6 are the next hops of IPv4 and IPv6 packets.
	Gateways4, Gateways6 []netip.Addr
	// Routes, if not nil, are looked at first.
	Routes []Route
	LegMTU uint16 // of the leg that Reply's frames come from; 0: unlimited

	// SlowPath says that somebody takes fragments whose first one has not come,
	// and packets to be cut into fragments.
	SlowPath bool
	// Fragments is what Decide remembers; nil remembers nothing. None of it
	// grows old.
	Fragments Fragments
}

// Decision is a verdict and what led to it.
type Decision struct {
	Verdict string
	Stream  uint32     // when a rule matched
	Flow    uint32     // when a rule matched
	Slot    uint32     // when the stream had a table
	Target  uint16     // when the stream had a target
	Gateway netip.Addr // of a reply
	Frame   []byte     // as it leaves; nil when dropped or given to the slow path
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
	case p.Fragment.Later():
		return w.later(frame, p)
	}
	d := w.packet(frame, p, err)
	if p.Fragment.First() {
		w.Fragments.remember(keyOf(p), d)
	}
	return d
}

// packet decides on a packet to a VIP, or the first fragment of one.
func (w World) packet(frame []byte, p packet.Packet, err error) Decision {
	switch {
	case errors.Is(err, packet.ErrExtension):
		return Decision{Verdict: Extension}
	case err != nil:
		return Decision{Verdict: Malformed}
	case p.IsICMP():
		return w.icmp(frame, p)
	case p.Proto != packet.TCP && p.Proto != packet.UDP && p.Proto != packet.SCTP:
		return Decision{Verdict: Protocol}
	}
	f := flow{
		src: p.Src, dst: p.Dst, proto: p.Proto, sport: p.SrcPort, dport: p.DstPort,
		header: frame[p.L4 : p.L4+p.L4Len],
	}
	d, rule := w.balance(f)
	if d.Target == 0 {
		return d
	}
	d.Verdict = Forwarded
	return w.send(frame, p, d, func(l4 []byte) string {
		if port := w.targetPort(rule, f); port != f.dport {
			if p.Proto == packet.SCTP && p.Fragment.First() {
				return NAT // its checksum is also over what is not here
			}
			setPort(l4, p.Proto, destination, port)
		}
		w.clamp(l4, p, w.Targets[d.Target].MTU)
		return ""
	})
}

// balance finds the rule, slot and target of a flow.
func (w World) balance(f flow) (Decision, *classify.Rule) {
	rule := w.rule(f)
	if rule == nil {
		return Decision{Verdict: NoFlow}, nil
	}
	d := Decision{Verdict: NoTarget, Stream: rule.Stream, Flow: rule.Flow}
	table := w.Tables[rule.Stream]
	if len(table) == 0 {
		return d, rule
	}
	hash := packet.FlowHash(f.src, f.dst, f.proto, f.sport, f.dport)
	d.Slot = packet.HashPick(hash, uint32(len(table)))
	if id := table[d.Slot]; id != 0 && w.hasTarget(id) {
		d.Target = id
	}
	return d, rule
}

func (w World) hasTarget(id uint16) bool {
	_, ok := w.Targets[id]
	return ok
}

// send sends a packet to its target, with its transport rewritten by edit, which
// may refuse it with a verdict.
func (w World) send(frame []byte, p packet.Packet, d Decision, edit func(l4 []byte) string) Decision {
	target := w.Targets[d.Target]
	if p.TTL <= 1 {
		d.Verdict = TTLExpired
		return d
	}
	if v := w.fits(p, target.MTU); v != "" {
		d.Verdict = v
		return d
	}
	frame = bytes.Clone(frame)
	if v := edit(frame[p.L4 : p.L4+p.L4Len]); v != "" {
		d.Verdict = v
		return d
	}
	d.Frame = packet.Ethernet{Dst: target.MAC, Src: target.LegMAC}.Frame(p.EtherType, frame[p.L3:])
	setTTL(d.Frame[14:], p.TTL-1)
	return d
}

// fits is the verdict on a packet longer than an MTU, "" if it is not.
func (w World) fits(p packet.Packet, mtu uint16) string {
	switch {
	case mtu == 0 || p.Length <= int(mtu):
		return ""
	case p.Src.Is4() && !p.DontFragment && w.SlowPath:
		return Fragmented
	}
	return TooBig
}

func (w World) isVIP(a netip.Addr) bool {
	return slices.ContainsFunc(w.Set.VIPs, func(p netip.Prefix) bool { return p.Contains(a) })
}
