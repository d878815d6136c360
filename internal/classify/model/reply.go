// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

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
	case err != nil && !errors.Is(err, packet.ErrExtension):
		return Decision{Verdict: Malformed}
	}
	gateway, v := w.Gateway(p, err != nil)
	if v != "" {
		return Decision{Verdict: v}
	}
	if p.TTL <= 1 {
		return Decision{Verdict: TTLExpired}
	}
	if v := w.fits(p, w.Set.MTU); v != "" {
		return Decision{Verdict: v}
	}
	frame = bytes.Clone(frame)
	if err == nil && !p.Fragment.Later() {
		if v := w.translateBack(frame[p.L4:p.L4+p.L4Len], &p); v != "" {
			return Decision{Verdict: v}
		}
	}
	out := packet.Ethernet{Dst: p.Ethernet.Dst, Src: p.Ethernet.Src}.Frame(p.EtherType, frame[p.L3:])
	setTTL(out[14:], p.TTL-1)
	return Decision{Verdict: ReplyForwarded, Gateway: gateway, Frame: out}
}

// translateBack gives the transport of a reply, and p, the ports that the client
// knows. A verdict is why it cannot.
func (w World) translateBack(l4 []byte, p *packet.Packet) string {
	switch {
	case p.IsICMP() && packet.ICMPError(p.Proto, p.Type):
		if q, ok := packet.ParseQuote(l4, p.Src.Is4()); ok && q.Dst == p.Src {
			setQuotedPort(l4, q, destination, w.outsidePort(q.Dst, q.Proto, q.DstPort))
		}
	case p.Proto == packet.TCP, p.Proto == packet.UDP, p.Proto == packet.SCTP:
		if port := w.outsidePort(p.Src, p.Proto, p.SrcPort); port != p.SrcPort {
			if p.Proto == packet.SCTP && p.Fragment.First() {
				return NAT
			}
			setPort(l4, p.Proto, source, port)
			p.SrcPort = port
		}
		w.clamp(l4, *p, w.LegMTU)
	}
	return ""
}

// Route leads to a next hop; without one, nowhere.
type Route struct {
	Prefix netip.Prefix
	Hop    netip.Addr // the zero address: packets are dropped
}

// Gateway returns the next hop of a reply; a verdict is why there is none. Its
// ports count as the target gave them. Fragments, of which only the first has
// ports, and what has none that can be read go by their addresses alone.
func (w World) Gateway(p packet.Packet, strange bool) (netip.Addr, string) {
	best := Route{}
	for _, r := range w.Routes {
		if r.Prefix.Contains(p.Dst) && (!best.Prefix.IsValid() || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = r
		}
	}
	if best.Prefix.IsValid() {
		if !best.Hop.IsValid() {
			return netip.Addr{}, NoRoute
		}
		return best.Hop, ""
	}
	list := w.Gateways6
	if p.Src.Is4() {
		list = w.Gateways4
	}
	if len(list) == 0 {
		return netip.Addr{}, NoGateway
	}
	hash := packet.FlowHash(p.Src, p.Dst, packet.TCP, 0, 0)
	whole := !strange && !p.Fragment.First() && !p.Fragment.Later()
	if whole && (p.Proto == packet.TCP || p.Proto == packet.UDP || p.Proto == packet.SCTP) {
		hash = packet.FlowHash(p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort)
	}
	return highest(list, uint64(hash>>20)), ""
}

// highest is the next hop that wins a share of the flows: the one with the highest
// score. So the others keep theirs when one goes.
func highest(list []netip.Addr, share uint64) (winner netip.Addr) {
	mix := func(h, n uint64) uint64 {
		h += (n + 1) * 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		return h ^ h>>31
	}
	var most uint64
	for _, hop := range list {
		b := hop.As16()
		score := mix(mix(mix(0, binary.BigEndian.Uint64(b[:8])), binary.BigEndian.Uint64(b[8:])), share)
		if score > most || !winner.IsValid() {
			winner, most = hop, score
		}
	}
	return winner
}
