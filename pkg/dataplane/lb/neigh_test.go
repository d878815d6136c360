// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

// neighbourFixtures are questions after addresses and what becomes of them.
func neighbourFixtures() []fixture {
	return append(arpFixtures(), ndFixtures()...)
}

func arpFixtures() []fixture {
	all := packet.Ethernet{Dst: broadcast, Src: routerMAC}
	pcp := packet.Tag{TCI: 3 << 13}
	ask := packet.ARP{Op: packet.ARPRequest, SenderMAC: routerMAC, SenderIP: fixSrc4, TargetIP: fixVIP4}
	probe, announce, reply, own := ask, ask, ask, ask
	probe.SenderIP = netip.IPv4Unspecified()
	announce.SenderIP = fixVIP4
	reply.Op = packet.ARPReply
	own.TargetIP = netip.MustParseAddr("192.0.2.1")
	answer := func(q packet.ARP, tags ...packet.Tag) []byte {
		return packet.ARP{
			Op: packet.ARPReply, SenderMAC: extMAC, SenderIP: fixVIP4, TargetMAC: routerMAC, TargetIP: q.SenderIP,
		}.Frame(packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: tags})
	}
	return []fixture{
		{"arp", ask.Frame(all), ARPAnswered, answer(ask)},
		{"arp unicast", ask.Frame(toUs), ARPAnswered, answer(ask)},
		{"arp tagged", ask.Frame(tagged(all, pcp)), ARPAnswered, answer(ask, pcp)},
		{"arp probe", probe.Frame(all), ARPAnswered, answer(probe)},
		{"arp announcement", announce.Frame(all), PassARP, nil},
		{"arp reply", reply.Frame(toUs), PassARP, nil},
		{"arp for our own address", own.Frame(all), PassARP, nil},
		{"arp of another kind", patch(ask.Frame(all), 14, 0, 6), PassARP, nil},
		{"arp cut", ask.Frame(all)[:41], DropMalformed, nil},
	}
}

func ndFixtures() []fixture {
	group, mac := packet.SolicitedNode(fixVIP6)
	all := packet.Ethernet{Dst: mac, Src: routerMAC}
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
	back := packet.Ethernet{Dst: routerMAC, Src: extMAC}
	toAll := packet.Ethernet{Dst: packet.MAC{0x33, 0x33, 0, 0, 0, 1}, Src: extMAC}
	solicited := answer(fixSrc6, packet.NDSolicited|packet.NDOverride, back)
	probed := answer(netip.MustParseAddr("ff02::1"), packet.NDOverride, toAll)
	pcp := packet.Tag{TCI: 3 << 13}
	other := packet.ND{Type: packet.NDSolicitation, Target: fixSrc6, Options: []packet.NDOption{source}}
	return []fixture{
		{"nd", ask(source).Frame(all, ip), NDAnswered, solicited},
		{"nd without option", ask().Frame(all, ip), NDAnswered, solicited},
		{"nd with two options", ask(source, nonce).Frame(all, ip), NDAnswered, solicited},
		{"nd unicast", ask().Frame(toUs, unicast), NDAnswered, solicited},
		{"nd tagged", ask(source).Frame(tagged(all, pcp), ip), NDAnswered, answer(fixSrc6, packet.NDSolicited|packet.NDOverride, tagged(back, pcp))},
		{"nd probe", ask(nonce).Frame(all, nobody), NDAnswered, probed},
		{"nd probe with source option", ask(source).Frame(all, nobody), DropMalformed, nil},
		{"nd probe to the address", ask().Frame(toUs, nobodyUnicast), DropMalformed, nil},
		{"nd from afar", ask(source).Frame(all, far), DropMalformed, nil},
		{"nd bad checksum", patch(ask(source).Frame(all, ip), 56, 0xff), DropMalformed, nil},
		{"nd empty option", patch(ask(source).Frame(all, ip), 79, 0), DropMalformed, nil},
		{"nd for another", other.Frame(all, ip), PassNotVIP, nil},
		{"advertisement to a VIP", answer(fixVIP6, 0, toUs), DropICMP, nil},
	}
}
