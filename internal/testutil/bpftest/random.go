// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// Random makes rule sets and packets out of small pools of addresses and ports,
// so that prefixes nest, ranges overlap and packets match now and then.
type Random struct{ *rand.Rand }

func (r Random) pick(p float64) bool { return r.Float64() < p }

func (r Random) addr(net4 [2]byte, net6 byte, v4 bool) netip.Addr {
	host := [2]byte{byte(r.IntN(3)), byte(r.IntN(12))}
	if v4 {
		return netip.AddrFrom4([4]byte{net4[0], net4[1], host[0], host[1]})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: net6, 7: byte(r.IntN(2)), 14: host[0], 15: host[1]})
}

// VIP is an address that may be a VIP.
func (r Random) VIP(v4 bool) netip.Addr { return r.addr([2]byte{20, 0}, 0, v4) }

// Client is an address that may be a client's.
func (r Random) Client(v4 bool) netip.Addr { return r.addr([2]byte{10, 1}, 1, v4) }

func (r Random) prefix(a netip.Addr, host float64) netip.Prefix {
	bits := a.BitLen()
	if !r.pick(host) {
		bits -= r.IntN(bits/2 + 1)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func (r Random) port() uint16 {
	if r.pick(0.1) {
		return uint16(r.Uint32())
	}
	return uint16(r.IntN(8)*256 + r.IntN(8))
}

func (r Random) ports(p float64) (list []classify.PortRange) {
	for r.pick(p) {
		first := r.port()
		last := first
		if r.pick(0.5) {
			last += uint16(min(r.IntN(1000), 65535-int(first)))
		}
		list = append(list, classify.PortRange{First: first, Last: last})
		p /= 2
	}
	return list
}

// Protocol is one of those that rules know.
func (r Random) Protocol() uint8 {
	return [...]uint8{packet.TCP, packet.UDP, packet.SCTP}[r.IntN(3)]
}

func (r Random) byteMatch() classify.ByteMatch {
	m := classify.ByteMatch{Protocol: r.Protocol(), Width: []uint8{1, 2, 4}[r.IntN(3)]}
	size := map[uint8]int{packet.TCP: 20, packet.UDP: 8, packet.SCTP: 12}[m.Protocol]
	m.Offset = uint8(r.IntN(size - int(m.Width) + 1))
	if r.pick(0.8) { // few bits, to match at times
		m.Mask = 1 << r.IntN(8*int(m.Width))
		m.Value = r.Uint32() & m.Mask
	}
	return m
}

// Rule makes a rule for the given number of streams.
func (r Random) Rule(i, streams int) classify.Rule {
	rule := classify.Rule{
		Name: fmt.Sprintf("rule-%d", i), Priority: int32(r.IntN(5)) - 2, Stream: uint32(r.IntN(streams)),
		SourcePorts: r.ports(0.3), DestinationPorts: r.ports(0.7),
	}
	for n := 1 + r.IntN(2); n > 0; n-- {
		rule.VIPs = append(rule.VIPs, r.prefix(r.VIP(r.pick(0.5)), 0.8))
	}
	for p := 0.6; r.pick(p); p /= 2 {
		rule.Sources = append(rule.Sources, r.prefix(r.Client(r.pick(0.5)), 0.3))
	}
	for p := 0.6; r.pick(p); p /= 2 {
		rule.Protocols = append(rule.Protocols, r.Protocol())
	}
	for p := 0.2; r.pick(p); p /= 2 {
		rule.ByteMatches = append(rule.ByteMatches, r.byteMatch())
	}
	return rule
}

// Set makes n rules, VIPs and gateways.
func (r Random) Set(n, streams int) classify.Set {
	s := classify.Set{MAC: make([]byte, 6)}
	for i := range n {
		s.Rules = append(s.Rules, r.Rule(i, streams))
	}
	for range 1 + r.IntN(30) {
		s.VIPs = append(s.VIPs, r.prefix(r.VIP(r.pick(0.5)), 0.9))
	}
	for _, rule := range s.Rules {
		if r.pick(0.5) {
			s.VIPs = append(s.VIPs, rule.VIPs[0])
		}
	}
	for p := 0.8; r.pick(p); {
		s.Gateways = append(s.Gateways, r.Client(r.pick(0.5)))
	}
	return s
}

// Link makes the link layer: mostly for mac, mostly without tags or with vlan's.
func (r Random) Link(mac packet.MAC, vlan uint16) packet.Ethernet {
	eth := packet.Ethernet{Dst: mac, Src: packet.MAC{2, 9, 9, 9, 9, 9}}
	if r.pick(0.05) {
		eth.Dst = packet.MAC{byte(r.IntN(4)), 1, 1, 1, 1, 1}
	}
	if vlan != 0 && !r.pick(0.1) {
		eth.Tags = append(eth.Tags, packet.Tag{TCI: vlan | uint16(r.IntN(8))<<13})
	}
	for r.pick(0.08) {
		tag := packet.Tag{TCI: uint16([]int{0, int(vlan), 7}[r.IntN(3)]) | uint16(r.IntN(8))<<13}
		if r.pick(0.3) {
			tag.Proto = packet.EtherQinQ
		}
		eth.Tags = append(eth.Tags, tag)
	}
	return eth
}

// Frame makes a frame; from is the source, to the destination.
func (r Random) Frame(eth packet.Ethernet, from, to func(v4 bool) netip.Addr) []byte {
	v4 := r.pick(0.5)
	ip := packet.IP{Src: from(v4), Dst: to(v4), TTL: uint8(1 + r.IntN(4))}
	if r.pick(0.8) {
		ip.TTL = uint8(64 + r.IntN(192))
	}
	var frame []byte
	switch {
	case r.pick(0.04) && v4:
		frame = packet.ARP{
			Op: uint16(1 + r.IntN(2)), SenderMAC: eth.Src, SenderIP: ip.Src, TargetIP: ip.Dst,
		}.Frame(r.maybeGroup(eth, packet.MAC{255, 255, 255, 255, 255, 255}))
	case r.pick(0.04) && !v4:
		frame = r.solicitation(eth, ip)
	default:
		proto, payload := r.transport(&ip)
		frame = ip.Packet(eth, proto, payload)
	}
	return r.mutate(frame)
}

func (r Random) maybeGroup(eth packet.Ethernet, group packet.MAC) packet.Ethernet {
	if r.pick(0.7) {
		eth.Dst = group
	}
	return eth
}

func (r Random) solicitation(eth packet.Ethernet, ip packet.IP) []byte {
	nd := packet.ND{Type: packet.NDSolicitation, Target: ip.Dst}
	group, mac := packet.SolicitedNode(ip.Dst)
	if r.pick(0.8) {
		ip.TTL = 255
	}
	if r.pick(0.7) {
		ip.Dst = group
	}
	if r.pick(0.2) {
		ip.Src = netip.IPv6Unspecified()
	}
	for r.pick(0.5) {
		nd.Options = append(nd.Options, packet.NDOption{Type: []uint8{packet.NDSourceMAC, packet.NDNonce}[r.IntN(2)], Data: eth.Src})
	}
	return nd.Frame(r.maybeGroup(eth, mac), ip)
}

func (r Random) transport(ip *packet.IP) (proto uint8, payload []byte) {
	if r.pick(0.15) {
		if ip.Src.Is4() {
			ip.Options = make([]byte, 4*(1+r.IntN(10)))
			ip.Fragment = uint16([]int{0, 0, 0x4000, 0x2000, 1 + r.IntN(100)}[r.IntN(5)])
		}
		for !ip.Src.Is4() && r.pick(0.8) {
			ip.Extensions = append(ip.Extensions, r.extension())
		}
	}
	body := make([]byte, r.IntN(30))
	switch sport, dport := r.port(), r.port(); {
	case r.pick(0.03):
		return ip.ICMP(uint8([]int{8, 128, 3, 1}[r.IntN(4)]), 0, body)
	case r.pick(0.02):
		return 47, body
	default:
		switch proto = r.Protocol(); proto {
		case packet.TCP:
			return proto, ip.TCP(sport, dport, uint8(r.Uint32()), body)
		case packet.UDP:
			return proto, ip.UDP(sport, dport, body)
		}
		return proto, ip.SCTP(sport, dport, body)
	}
}

func (r Random) extension() packet.Extension {
	switch r.IntN(8) {
	case 0:
		return packet.FragmentHeader(uint16(r.IntN(2)), r.pick(0.3), 1)
	case 1:
		return packet.RoutingHeader(uint8(r.IntN(2)))
	case 2, 3:
		return packet.Options(packet.HopByHop, uint8(r.IntN(12)))
	}
	return packet.Options(packet.DstOptions, uint8(r.IntN(3)))
}

// mutate damages some frames: bytes changed, cut off or added.
func (r Random) mutate(frame []byte) []byte {
	if r.pick(0.06) {
		for range 1 + r.IntN(3) {
			frame[12+r.IntN(len(frame)-12)] = byte(r.Uint32())
		}
	}
	if r.pick(0.03) {
		frame = frame[:14+r.IntN(len(frame)-13)]
	}
	if r.pick(0.1) {
		frame = append(frame, make([]byte, r.IntN(40))...)
	}
	return frame
}
