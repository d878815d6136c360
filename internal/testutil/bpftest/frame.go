// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

// Link makes the link layer: mostly for mac, mostly without tags or with vlan's.
func (r *Random) Link(mac packet.MAC, vlan uint16) packet.Ethernet {
	eth := packet.Ethernet{Dst: mac, Src: packet.MAC{2, 9, 9, 9, 9, 9}}
	if r.pick(0.02) {
		eth.Dst = packet.MAC{byte(r.IntN(4)), 1, 1, 1, 1, 1}
	}
	if vlan != 0 && !r.pick(0.05) {
		eth.Tags = append(eth.Tags, packet.Tag{TCI: vlan | uint16(r.IntN(8))<<13})
	}
	for r.pick(0.05) {
		tag := packet.Tag{TCI: uint16([]int{0, int(vlan), 7}[r.IntN(3)]) | uint16(r.IntN(8))<<13}
		if r.pick(0.3) {
			tag.Proto = packet.EtherQinQ
		}
		eth.Tags = append(eth.Tags, tag)
	}
	return eth
}

// ends are where packets in one direction come from and go to.
type ends struct {
	reply    bool // from a target
	from, to func(v4 bool) netip.Addr
}

func (e ends) back() ends { return ends{e.reply, e.to, e.from} }

// Frames makes a packet, or fragments of one, to be passed one after the other.
// Fragments of other packets have other ids. No frame is longer than 3000 bytes.
// Most are from a client to a VIP, or as a reply from a VIP to a client.
func (r *Random) Frames(eth packet.Ethernet, reply bool) [][]byte {
	r.focus = r.newFocus()
	e := ends{reply, r.nearClient, r.nearVIP}
	if reply != r.pick(0.03) {
		e = e.back()
	}
	v4 := r.family()
	ip := r.ip(e, v4)
	switch {
	case r.pick(0.03) && v4:
		arp := packet.ARP{Op: uint16(1 + r.IntN(2)), SenderMAC: eth.Src, SenderIP: ip.Src, TargetIP: ip.Dst}
		return [][]byte{r.mutate(arp.Frame(r.maybeGroup(eth, packet.MAC{255, 255, 255, 255, 255, 255})))}
	case r.pick(0.03) && !v4:
		return [][]byte{r.mutate(r.solicitation(eth, ip))}
	case r.pick(0.01):
		return [][]byte{r.garbage(eth, v4)}
	case r.pick(0.1):
		return r.fragments(eth, e, ip)
	}
	if v4 && r.pick(0.02) { // without the others
		r.id++
		ip.ID = uint16(r.id)
		ip.Fragment |= []uint16{packet.FragmentMF, uint16(1 + r.IntN(100)), packet.FragmentMF | 1}[r.IntN(3)]
	}
	proto, payload := r.transport(ip, e)
	return [][]byte{r.mutate(ip.Packet(eth, proto, payload))}
}

// ip makes a network header.
func (r *Random) ip(e ends, v4 bool) packet.IP {
	ip := packet.IP{Src: e.from(v4), Dst: e.to(v4), TTL: uint8(64 + r.IntN(192)), ID: uint16(r.Uint32())}
	if r.pick(0.1) {
		ip.TTL = uint8(1 + r.IntN(4))
	}
	if v4 && r.pick(0.3) {
		ip.Fragment = packet.FragmentDF
	}
	if v4 && r.pick(0.1) {
		ip.Options = make([]byte, 4*(1+r.IntN(10)))
	}
	if r.pick(0.15) {
		ip.Extensions = r.extensions(v4, 12)
	}
	return ip
}

// extensions makes about as many headers as are walked over, or few.
func (r *Random) extensions(v4 bool, most int) (list []packet.Extension) {
	n := 1 + r.IntN(3)
	if r.pick(0.2) {
		n = 1 + r.IntN(most)
	}
	room := 1200 // bytes
	for range n {
		e := r.extension(v4)
		if room -= len(e.Body) + 1; room < 0 {
			break
		}
		list = append(list, e)
	}
	return list
}

func (r *Random) extension(v4 bool) packet.Extension {
	size := uint8(r.IntN(4))
	if r.pick(0.05) {
		size = uint8(r.Uint32())
	}
	kind := r.IntN(20)
	switch {
	case v4 && kind != 0, kind < 6:
		return packet.AuthHeader(size)
	case kind < 8:
		r.id++
		return packet.FragmentHeader(uint16(r.IntN(4)/3), r.pick(0.2), r.id)
	case kind < 11:
		e := packet.RoutingHeader(uint8(r.IntN(10) / 9))
		e.Body = append(e.Body, make([]byte, 8*int(size))...)
		e.Body[0] = size
		return e
	case kind < 15:
		return packet.Options(packet.HopByHop, size)
	}
	return packet.Options(packet.DstOptions, size)
}

// body makes data with which the packet is about as long as an MTU at times.
func (r *Random) body(ip packet.IP) []byte {
	size := r.IntN(60)
	if r.pick(0.15) {
		mtu := int(mtus[r.IntN(len(mtus))])
		empty := len(ip.Packet(packet.Ethernet{}, packet.UDP, nil)) - 14
		size = max(0, mtu-empty-8-12*r.IntN(2)+r.IntN(7)-3)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
		if i == 64 {
			break
		}
	}
	return b
}

func (r *Random) maybeGroup(eth packet.Ethernet, group packet.MAC) packet.Ethernet {
	if r.pick(0.7) {
		eth.Dst = group
	}
	return eth
}

func (r *Random) solicitation(eth packet.Ethernet, ip packet.IP) []byte {
	nd := packet.ND{Type: packet.NDSolicitation, Target: ip.Dst}
	group, mac := packet.SolicitedNode(ip.Dst)
	if r.pick(0.8) {
		ip.TTL, ip.Extensions = 255, nil
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

// fragments cuts a packet up and gives some of the fragments in some order, some
// of them twice.
func (r *Random) fragments(eth packet.Ethernet, e ends, ip packet.IP) [][]byte {
	proto, payload := r.transport(ip, e)
	if r.pick(0.2) {
		proto, payload = r.echo(ip)
	}
	r.id++
	ip.ID = uint16(r.id)
	whole := ip.Packet(eth, proto, payload)
	size := 8 * (1 + r.IntN(8))
	if len(payload) > 500 || r.pick(0.3) {
		size = 8 * (20 + r.IntN(100))
	}
	list := packet.Fragments(whole, size, r.id)
	var out [][]byte
	for range 1 + r.IntN(4) {
		out = append(out, r.mutate(list[r.IntN(min(len(list), 3))]))
	}
	if r.pick(0.5) {
		out[0] = list[0]
	}
	return out
}
