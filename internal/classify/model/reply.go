// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"

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
	gateways := w.Gateways(p.Src.Is4())
	if len(gateways) == 0 {
		return Decision{Verdict: NoGateway}
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
	return Decision{Verdict: ReplyForwarded, Gateway: pickGateway(gateways, p), Frame: out}
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

// Gateways returns the gateways of a family, each once, in their order.
func (w World) Gateways(v4 bool) []netip.Addr {
	list := slices.DeleteFunc(slices.Clone(w.Set.Gateways), func(a netip.Addr) bool { return a.Is4() != v4 })
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// pickGateway keeps all packets of a flow on one way; of fragments only the
// first has ports, so they go by their addresses alone.
func pickGateway(list []netip.Addr, p packet.Packet) netip.Addr {
	hash := packet.FlowHash(p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort)
	if p.Fragment.First() || p.Fragment.Later() {
		hash = packet.FlowHash(p.Src, p.Dst, packet.TCP, 0, 0)
	}
	return list[packet.HashPick(hash, uint32(len(list)))]
}
