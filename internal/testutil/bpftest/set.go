// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Set makes n rules, VIPs and NATs that pass Validate. The rules'
// counters are 1 to n, their streams 0 to streams-1. The packets made after it
// are near its rules and NATs.
func (r *Random) Set(n, streams int) classify.Set {
	s := classify.Set{MAC: make([]byte, 6), MTU: r.MTU(), MSSClamp: r.pick(0.5)}
	var used translations
	for i := range n {
		s.Rules = append(s.Rules, r.rule(i, streams, &used))
	}
	for range 1 + r.IntN(30) {
		s.VIPs = append(s.VIPs, r.prefix(r.vip(r.pick(0.5)), 0.9))
	}
	for _, rule := range s.Rules {
		if r.pick(0.8) {
			s.VIPs = append(s.VIPs, rule.VIPs[0])
		}
	}
	for p := 0.95; r.pick(p); {
		s.NATs = r.appendNAT(s.NATs, r.nat(s), &used)
	}
	r.set = s
	return s
}

func (r *Random) rule(i, streams int, used *translations) classify.Rule {
	rule := classify.Rule{
		Name: fmt.Sprintf("rule-%d", i), Priority: int32(r.IntN(5)) - 2,
		Stream: uint32(r.IntN(streams)), Flow: uint32(i + 1),
		SourcePorts: r.ports(0.3), DestinationPorts: r.ports(0.7),
	}
	for n := 1 + r.IntN(2); n > 0; n-- {
		rule.VIPs = append(rule.VIPs, r.prefix(r.vip(r.pick(0.5)), 0.8))
	}
	for p := 0.6; r.pick(p); p /= 2 {
		rule.Sources = append(rule.Sources, r.prefix(r.client(r.pick(0.5)), 0.3))
	}
	for p := 0.6; r.pick(p); p /= 2 {
		rule.Protocols = append(rule.Protocols, r.protocol())
	}
	for p := 0.2; r.pick(p) && len(rule.ByteMatches) < classify.MaxByteMatches; p *= 0.8 {
		rule.ByteMatches = append(rule.ByteMatches, r.byteMatch())
	}
	if r.pick(0.3) {
		r.translate(&rule, used)
	}
	return rule
}

// translate gives a rule one port, and targets another.
func (r *Random) translate(rule *classify.Rule, used *translations) {
	t := translation{vips: rule.VIPs, protocols: rule.Protocols, outside: r.port(), target: r.port()}
	if len(t.protocols) == 0 {
		t.protocols = []uint8{packet.TCP, packet.UDP, packet.SCTP}
	}
	if used.add(t) {
		rule.DestinationPorts = []classify.PortRange{{First: t.outside, Last: t.outside}}
		rule.TargetPort = t.target
	}
}

// nat makes a NAT of a VIP, mostly for a port that a rule is about.
func (r *Random) nat(s classify.Set) classify.NAT {
	n := classify.NAT{VIP: s.VIPs[r.IntN(len(s.VIPs))], Protocol: r.protocol(), Port: r.port(), TargetPort: r.port()}
	if len(s.Rules) == 0 || r.pick(0.3) {
		return n
	}
	rule := s.Rules[r.IntN(len(s.Rules))]
	if slices.Contains(s.VIPs, rule.VIPs[0]) {
		n.VIP = rule.VIPs[0]
	}
	if len(rule.Protocols) > 0 {
		n.Protocol = rule.Protocols[0]
	}
	if len(rule.DestinationPorts) > 0 {
		n.Port = rule.DestinationPorts[0].First
	}
	return n
}

func (r *Random) appendNAT(list []classify.NAT, n classify.NAT, used *translations) []classify.NAT {
	twice := slices.ContainsFunc(list, func(o classify.NAT) bool {
		return o.VIP == n.VIP && o.Protocol == n.Protocol && o.Port == n.Port
	})
	t := translation{vips: []netip.Prefix{n.VIP}, protocols: []uint8{n.Protocol}, outside: n.Port, target: n.TargetPort}
	if twice || !used.add(t) {
		return list
	}
	return append(list, n)
}

// translation is what a rule or NAT does to ports.
type translation struct {
	vips            []netip.Prefix
	protocols       []uint8
	outside, target uint16
}

type translations []translation

// add refuses a translation by which a target port of a VIP would stand for two
// outside ports.
func (list *translations) add(t translation) bool {
	if t.outside == 0 || t.target == 0 || slices.ContainsFunc(*list, t.contradicts) {
		return false
	}
	*list = append(*list, t)
	return true
}

func (t translation) contradicts(o translation) bool {
	return t.target == o.target && t.outside != o.outside &&
		slices.ContainsFunc(t.protocols, func(p uint8) bool { return slices.Contains(o.protocols, p) }) &&
		slices.ContainsFunc(t.vips, func(p netip.Prefix) bool { return slices.ContainsFunc(o.vips, p.Overlaps) })
}
