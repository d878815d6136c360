// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
)

// focus is what a packet is near: a rule, a NAT or, if it is empty, nothing.
type focus struct {
	vips, sources []netip.Prefix
	sports, ports []classify.PortRange
	protocols     []uint8
	target        uint16
}

func (r *Random) newFocus() focus {
	s := &r.set
	f := focus{vips: s.VIPs}
	if len(s.Rules) > 0 && r.pick(0.9) {
		rule := &s.Rules[r.IntN(len(s.Rules))]
		f = focus{
			vips: rule.VIPs, sources: rule.Sources, sports: rule.SourcePorts, ports: rule.DestinationPorts,
			protocols: rule.Protocols, target: rule.TargetPort,
		}
	}
	if len(s.NATs) > 0 && r.pick(0.3) {
		n := s.NATs[r.IntN(len(s.NATs))]
		if slices.ContainsFunc(f.vips, n.VIP.Overlaps) || r.pick(0.2) {
			f.vips, f.protocols, f.target = []netip.Prefix{n.VIP}, []uint8{n.Protocol}, n.TargetPort
			f.ports = []classify.PortRange{{First: n.Port, Last: n.Port}}
		}
	}
	return f
}

// nearVIP is an address that may be a VIP.
func (r *Random) nearVIP(v4 bool) netip.Addr { return r.within(r.focus.vips, r.vip(v4)) }

// nearClient is an address that may be a client's.
func (r *Random) nearClient(v4 bool) netip.Addr { return r.within(r.focus.sources, r.client(v4)) }

// within gives an address, mostly, the first bits of one of the prefixes.
func (r *Random) within(list []netip.Prefix, a netip.Addr) netip.Addr {
	list = slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return p.Addr().Is4() != a.Is4() })
	if len(list) == 0 || r.pick(0.05) {
		return a
	}
	p := list[r.IntN(len(list))]
	b, first := a.AsSlice(), p.Addr().AsSlice()
	for i := range p.Bits() {
		bit := byte(0x80) >> (i % 8)
		b[i/8] = b[i/8]&^bit | first[i/8]&bit
	}
	a, _ = netip.AddrFromSlice(b)
	return a
}

// family chooses IPv4 or the other, mostly one of the focus.
func (r *Random) family() (v4 bool) {
	for _, list := range [][]netip.Prefix{r.focus.sources, r.focus.vips} {
		if n := len(list); n > 0 && r.pick(0.9) {
			return list[r.IntN(n)].Addr().Is4()
		}
	}
	return r.pick(0.5)
}

// nearProtocol is one of those that rules know.
func (r *Random) nearProtocol() uint8 {
	if n := len(r.focus.protocols); n > 0 && r.pick(0.9) {
		return r.focus.protocols[r.IntN(n)]
	}
	return r.protocol()
}

// portsOf are those of a packet from or to the VIP. The VIP's is a target's in a
// reply, and in a packet that a reply quotes.
func (r *Random) portsOf(reply, fromVIP bool) (sport, dport uint16) {
	vip := r.portIn(r.focus.ports)
	if reply && r.focus.target != 0 && r.pick(0.8) {
		vip = r.focus.target
	}
	client := r.portIn(r.focus.sports)
	if fromVIP {
		return vip, client
	}
	return client, vip
}

func (r *Random) portIn(list []classify.PortRange) uint16 {
	if len(list) == 0 || r.pick(0.1) {
		return r.port()
	}
	p := list[r.IntN(len(list))]
	switch r.IntN(16) {
	case 0:
		return p.First - 1
	case 1:
		return p.Last + 1
	case 2, 3, 4:
		return p.Last
	}
	return p.First
}
