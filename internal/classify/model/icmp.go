// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"encoding/binary"

	"github.com/weft-project/weft/internal/packet"
)

// icmp decides on an ICMP or ICMPv6 message to a VIP.
func (w World) icmp(frame []byte, p packet.Packet) Decision {
	switch {
	case packet.ICMPError(p.Proto, p.Type):
		return w.icmpError(frame, p)
	case p.Code == 0 && p.Type == map[uint8]uint8{packet.ICMP: packet.EchoRequestV4, packet.ICMPv6: packet.EchoRequestV6}[p.Proto]:
		return w.echo(frame, p)
	}
	return Decision{Verdict: ICMP}
}

// echo answers for the targets, if there may be any.
func (w World) echo(frame []byte, p packet.Packet) Decision {
	for _, r := range w.Set.Rules {
		if contains(r.VIPs, p.Dst) && len(w.Tables[r.Stream]) > 0 {
			return w.answer(frame, p)
		}
	}
	return Decision{Verdict: NoTarget}
}

// answer turns an echo request, or a later fragment of one, into the reply.
func (w World) answer(frame []byte, p packet.Packet) Decision {
	out := bytes.Clone(frame)
	copy(out, p.Ethernet.Src[:])
	copy(out[6:], w.MAC[:])
	ip := out[p.L3:]
	at, size := 8, 16
	if p.Src.Is4() {
		at, size = 12, 4
	}
	copy(ip[at:], p.Dst.AsSlice())
	copy(ip[at+size:], p.Src.AsSlice())
	setTTL(ip, 64)
	if !p.Fragment.Later() {
		message := out[p.L4 : p.L4+p.L4Len]
		before := bytes.Clone(message)
		message[0] = map[uint8]uint8{packet.ICMP: packet.EchoReplyV4, packet.ICMPv6: packet.EchoReplyV6}[p.Proto]
		amend(message, before, 2)
	}
	return Decision{Verdict: EchoAnswered, Frame: out}
}

// icmpError sends an error about a packet from a VIP to the target that sent it:
// that of the flow in the other direction.
func (w World) icmpError(frame []byte, p packet.Packet) Decision {
	q, ok := packet.ParseQuote(frame[p.L4:p.L4+p.L4Len], p.Src.Is4())
	if !ok || q.Src != p.Dst {
		return Decision{Verdict: ICMP}
	}
	f := flow{src: q.Dst, dst: q.Src, proto: q.Proto, sport: q.DstPort, dport: q.SrcPort}
	f.header = binary.BigEndian.AppendUint16(f.header, f.sport)
	f.header = binary.BigEndian.AppendUint16(f.header, f.dport)
	d, rule := w.balance(f)
	if d.Target == 0 {
		return d
	}
	d.Verdict = ICMPForwarded
	return w.send(frame, p, d, func(message []byte) string {
		setQuotedPort(message, q, source, w.targetPort(rule, f))
		return ""
	})
}
