// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

var (
	allNodes = netip.MustParseAddr("ff02::1")
)

// otherHost says that the kernel takes the frame for somebody else's.
func (w World) otherHost(p packet.Packet) bool {
	return p.Ethernet.Dst != w.MAC && p.Ethernet.Dst[0]&1 == 0
}

func (w World) arp(frame []byte, p packet.Packet) Decision {
	if w.otherHost(p) {
		return w.leave(PassNotHost, frame, p)
	}
	if !w.isVIP(p.ARP.TargetIP) || p.ARP.SenderIP == p.ARP.TargetIP {
		return w.leave(PassARP, frame, p)
	}
	answer := packet.ARP{
		Op:        packet.ARPReply,
		SenderMAC: w.MAC, SenderIP: p.ARP.TargetIP,
		TargetMAC: p.ARP.SenderMAC, TargetIP: p.ARP.SenderIP,
	}
	out := answer.Frame(packet.Ethernet{Dst: p.ARP.SenderMAC, Src: w.MAC, Tags: p.Tags})
	return Decision{Verdict: ARPAnswered, Frame: append(out, frame[len(out):]...)}
}

// solicitation says that the frame is a neighbour solicitation, well formed or
// not.
func solicitation(frame []byte, p packet.Packet, err error) bool {
	return err == nil && p.EtherType == packet.EtherIPv6 && p.Proto == packet.ICMPv6 &&
		p.L4 == p.L3+40 && p.L4Len >= 24 && frame[p.L4] == packet.NDSolicitation
}

func (w World) nd(frame []byte, p packet.Packet) Decision {
	message := frame[p.L4 : p.L4+p.L4Len]
	target := netip.AddrFrom16([16]byte(message[8:24]))
	if w.otherHost(p) {
		return w.leave(PassNotHost, frame, p)
	}
	if !w.isVIP(target) {
		return w.leave(PassNotVIP, frame, p)
	}
	if !validSolicitation(message, p) {
		return Decision{Verdict: Malformed}
	}
	eth := packet.Ethernet{Dst: p.Ethernet.Src, Src: w.MAC, Tags: p.Tags}
	ip := packet.IP{Src: target, Dst: p.Src}
	nd := packet.ND{
		Type: packet.NDAdvertisement, Flags: packet.NDOverride | packet.NDSolicited, Target: target,
		Options: []packet.NDOption{{Type: packet.NDTargetMAC, Data: w.MAC}},
	}
	if p.Src.IsUnspecified() { // a duplicate address probe
		ip.Dst, nd.Flags = allNodes, packet.NDOverride
		eth.Dst = packet.MAC{0x33, 0x33, 0, 0, 0, 1}
	}
	return Decision{Verdict: NDAnswered, Frame: nd.Frame(eth, ip)}
}

// validSolicitation follows RFC 4861, section 7.1.1.
func validSolicitation(message []byte, p packet.Packet) bool {
	if p.TTL != 255 || message[1] != 0 || len(message)%8 != 0 || len(message) > 88 {
		return false
	}
	src, dst := p.Src.As16(), p.Dst.As16()
	pseudo := append(append([]byte{}, src[:]...), dst[:]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(packet.ICMPv6))
	if packet.Checksum(0, append(pseudo, message...)) != 0 {
		return false
	}
	probe := p.Src.IsUnspecified()
	if probe && ([4]byte(dst[:4]) != [4]byte{0xff, 2} || [4]byte(dst[8:12]) != [4]byte{0, 0, 0, 1}) {
		return false
	}
	for options := message[24:]; len(options) > 0; {
		size := 8 * int(options[1])
		if size == 0 || size > len(options) || probe && options[0] == packet.NDSourceMAC {
			return false
		}
		options = options[size:]
	}
	return true
}
