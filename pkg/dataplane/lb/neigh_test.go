// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/packet"
)

// neighbourFixtures are questions after addresses and what becomes of them.
func neighbourFixtures(eth packet.Ethernet) []fixture {
	return append(arpFixtures(eth), ndFixtures(eth)...)
}

// questions completes fixtures that come and leave with the same tags; what is
// left to the stack loses those of our VLAN.
func questions(eth packet.Ethernet, table map[string]question) (list []fixture) {
	for name, q := range table {
		f := fixture{name: name, frame: q.frame, want: because(q.want), out: q.out}
		if q.out == nil && slices.ContainsFunc(eth.Tags, func(tag packet.Tag) bool { return tag.TCI&0xfff != 0 }) {
			f.out = append(slices.Clone(q.frame[:12]), q.frame[12+4*len(eth.Tags):]...)
		}
		list = append(list, f)
	}
	return list
}

// question is a frame and what it is answered by.
type question struct {
	frame []byte
	want  Reason
	out   []byte
}

func arpFixtures(eth packet.Ethernet) []fixture {
	toUs := eth
	all := packet.Ethernet{Dst: broadcast, Src: routerMAC, Tags: eth.Tags}
	ask := packet.ARP{Op: packet.ARPRequest, SenderMAC: routerMAC, SenderIP: fixSrc4, TargetIP: fixVIP4}
	probe, announce, reply, own := ask, ask, ask, ask
	probe.SenderIP = netip.IPv4Unspecified()
	announce.SenderIP = fixVIP4
	reply.Op = packet.ARPReply
	own.TargetIP = netip.MustParseAddr("192.0.2.1")
	answer := func(q packet.ARP) []byte {
		return packet.ARP{
			Op: packet.ARPReply, SenderMAC: extMAC, SenderIP: fixVIP4, TargetMAC: routerMAC, TargetIP: q.SenderIP,
		}.Frame(packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: eth.Tags})
	}
	return questions(eth, map[string]question{
		"arp":                     {ask.Frame(all), ARPAnswered, answer(ask)},
		"arp unicast":             {ask.Frame(toUs), ARPAnswered, answer(ask)},
		"arp probe":               {probe.Frame(all), ARPAnswered, answer(probe)},
		"arp announcement":        {announce.Frame(all), PassARP, nil},
		"arp reply":               {reply.Frame(toUs), PassARP, nil},
		"arp for our own address": {own.Frame(all), PassARP, nil},
		"arp of another kind":     {patch(ask.Frame(all), l3(eth), 0, 6), PassARP, nil},
		"arp cut":                 {ask.Frame(all)[:l3(eth)+27], DropMalformed, nil},
	})
}

func ndFixtures(eth packet.Ethernet) []fixture {
	toUs, at := eth, l3(eth)
	group, mac := packet.SolicitedNode(fixVIP6)
	all := packet.Ethernet{Dst: mac, Src: routerMAC, Tags: eth.Tags}
	ip := packet.IP{Src: fixSrc6, Dst: group}
	unicast, nobody, far, nobodyUnicast := ip, ip, ip, ip
	unicast.Dst = fixVIP6
	nobody.Src = netip.IPv6Unspecified()
	nobodyUnicast.Src, nobodyUnicast.Dst = netip.IPv6Unspecified(), fixVIP6
	far.TTL = 254
	source := packet.NDOption{Type: packet.NDSourceMAC, Data: routerMAC}
	nonce := packet.NDOption{Type: packet.NDNonce, Data: [6]byte{1, 2, 3, 4, 5, 6}}
	ask := func(o ...packet.NDOption) packet.ND {
		return packet.ND{Type: packet.NDSolicitation, Target: fixVIP6, Options: o}
	}
	answer := func(dst netip.Addr, flags uint32, eth packet.Ethernet) []byte {
		return packet.ND{
			Type: packet.NDAdvertisement, Flags: flags, Target: fixVIP6,
			Options: []packet.NDOption{{Type: packet.NDTargetMAC, Data: extMAC}},
		}.Frame(eth, packet.IP{Src: fixVIP6, Dst: dst})
	}
	back := packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: eth.Tags}
	toAll := packet.Ethernet{Dst: packet.MAC{0x33, 0x33, 0, 0, 0, 1}, Src: extMAC, Tags: eth.Tags}
	solicited := answer(fixSrc6, packet.NDSolicited|packet.NDOverride, back)
	probed := answer(netip.MustParseAddr("ff02::1"), packet.NDOverride, toAll)
	other := packet.ND{Type: packet.NDSolicitation, Target: fixSrc6, Options: []packet.NDOption{source}}
	return questions(eth, map[string]question{
		"nd":                          {ask(source).Frame(all, ip), NDAnswered, solicited},
		"nd without option":           {ask().Frame(all, ip), NDAnswered, solicited},
		"nd with two options":         {ask(source, nonce).Frame(all, ip), NDAnswered, solicited},
		"nd unicast":                  {ask().Frame(toUs, unicast), NDAnswered, solicited},
		"nd probe":                    {ask(nonce).Frame(all, nobody), NDAnswered, probed},
		"nd probe with source option": {ask(source).Frame(all, nobody), DropMalformed, nil},
		"nd probe to the address":     {ask().Frame(toUs, nobodyUnicast), DropMalformed, nil},
		"nd from afar":                {ask(source).Frame(all, far), DropMalformed, nil},
		"nd bad checksum":             {patch(ask(source).Frame(all, ip), at+42, 0xff), DropMalformed, nil},
		"nd empty option":             {patch(ask(source).Frame(all, ip), at+65, 0), DropMalformed, nil},
		"nd for another":              {other.Frame(all, ip), PassNotVIP, nil},
		"advertisement to a VIP":      {answer(fixVIP6, 0, toUs), DropICMP, nil},
	})
}
