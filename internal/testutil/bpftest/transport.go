// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"github.com/weft-project/weft/internal/packet"
)

// transport makes what an IP packet carries.
func (r *Random) transport(ip packet.IP, e ends) (proto uint8, payload []byte) {
	switch {
	case r.pick(0.08):
		return r.icmpError(ip, e)
	case r.pick(0.03):
		return r.echo(ip)
	case r.pick(0.02):
		kind := uint8(r.Uint32())
		if r.pick(0.5) {
			kind = uint8([]int{0, 1, 2, 3, 4, 5, 8, 11, 12, 128, 129, 134}[r.IntN(12)])
		}
		return ip.ICMP(kind, uint8(r.IntN(2)), r.body(ip))
	case r.pick(0.02):
		return uint8(r.Uint32()), r.body(ip)
	}
	proto = r.nearProtocol()
	sport, dport := r.portsOf(e.reply, e.reply)
	return proto, r.segment(ip, proto, sport, dport)
}

func (r *Random) segment(ip packet.IP, proto uint8, sport, dport uint16) (b []byte) {
	sum := 0
	switch proto {
	case packet.TCP:
		b, sum = r.tcp(ip, sport, dport), 16
	case packet.UDP:
		b, sum = ip.UDP(sport, dport, r.body(ip)), 6
	default:
		b, sum = ip.SCTP(sport, dport, r.body(ip)), 8
	}
	switch {
	case proto == packet.UDP && r.pick(0.2):
		b[6], b[7] = 0, 0
	case r.pick(0.05): // wrong, it has to stay so
		b[sum] = byte(r.Uint32())
	}
	return b
}

// tcp makes a segment, often a SYN with options.
func (r *Random) tcp(ip packet.IP, sport, dport uint16) []byte {
	if r.pick(0.6) {
		return ip.TCP(sport, dport, uint8(r.Uint32()), r.body(ip))
	}
	var options []byte
	for r.pick(0.7) {
		options = append(options, r.tcpOption()...)
	}
	flags := uint8(r.Uint32()) | packet.SYN
	b := ip.TCPOptions(sport, dport, flags, options[:min(40, len(options))], r.body(ip))
	if r.pick(0.1) {
		b[12] = byte(r.Uint32())
	}
	return b
}

// tcpOption makes an option, or what looks like one.
func (r *Random) tcpOption() []byte {
	switch r.IntN(12) {
	case 0, 1:
		return []byte{1}
	case 2:
		return []byte{0}
	case 3:
		return []byte{4, 2}
	case 4:
		return []byte{8, 10, 0, 0, 0, 0, 0, 0, 0, 0}
	case 5: // malformed
		return []byte{byte(r.Uint32()), byte(r.IntN(4))}
	case 6:
		return []byte{byte(r.IntN(4)), byte(r.IntN(12)), byte(r.Uint32())}
	}
	return packet.MSS(uint16(r.IntN(1600)))
}

func (r *Random) echo(ip packet.IP) (proto uint8, payload []byte) {
	kind := packet.EchoRequestV6
	if ip.Src.Is4() {
		kind = packet.EchoRequestV4
	}
	return ip.ICMP(kind, uint8(r.IntN(12)/11), append([]byte{7, byte(r.Uint32()), 0, 1}, r.body(ip)...))
}

// icmpError makes an error about a packet in the other direction, or one that
// pretends to be.
func (r *Random) icmpError(ip packet.IP, e ends) (proto uint8, payload []byte) {
	v4 := ip.Src.Is4()
	if r.pick(0.02) {
		v4 = !v4
	}
	quoted := r.ip(e.back(), v4)
	if v4 == ip.Src.Is4() && !r.pick(0.05) {
		quoted.Src = ip.Dst
	}
	if v4 == ip.Src.Is4() && r.pick(0.7) {
		quoted.Dst = ip.Src
	}
	quoted.Extensions = nil
	if r.pick(0.2) {
		quoted.Extensions = r.extensions(v4, 6)
	}
	if v4 && r.pick(0.05) {
		quoted.Fragment = []uint16{packet.FragmentMF, 1, packet.FragmentDF}[r.IntN(3)]
	}
	proto = r.nearProtocol()
	sport, dport := r.portsOf(e.reply, !e.reply)
	transport := r.segment(quoted, proto, sport, dport)
	if r.pick(0.05) {
		proto = uint8(r.Uint32())
	}
	b := quoted.Packet(packet.Ethernet{}, proto, transport)[14:]
	b = r.cut(b, len(b)-len(transport))
	if r.pick(0.03) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	kind := uint8([]int{1, 2, 3, 4}[r.IntN(4)])
	if ip.Src.Is4() {
		kind = uint8([]int{3, 11, 12}[r.IntN(3)])
	}
	return ip.ICMPError(kind, uint8(r.IntN(5)), r.Uint32()&0xffff, b)
}

// cut ends a quote as hosts do, or anywhere; transport is where that header is.
func (r *Random) cut(b []byte, transport int) []byte {
	size := len(b)
	switch r.IntN(8) {
	case 0, 1:
		size = transport + 8
	case 2:
		size = transport + 4*r.IntN(6) + r.IntN(3) - 1
	case 3:
		size = transport + 16 + r.IntN(4) // about TCP's checksum
	case 4:
		size = 1 + r.IntN(len(b))
	}
	return b[:max(1, min(size, len(b), 1000))]
}

// garbage is a frame of an IP ethertype, with a header that may look like one.
func (r *Random) garbage(eth packet.Ethernet, v4 bool) []byte {
	b := make([]byte, r.IntN(200))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	kind, dst, at := packet.EtherIPv6, r.nearVIP(false), 24
	if v4 {
		kind, dst, at = packet.EtherIPv4, r.nearVIP(true), 16
	}
	if len(b) > 40 && r.pick(0.8) {
		b[0] = 0x60
		if v4 {
			b[0], b[2], b[6], b[7] = 0x45+byte(r.IntN(2)), 0, 0, 0
		} else {
			b[4], b[5] = 0, byte(r.IntN(len(b)-39))
		}
		copy(b[at:], dst.AsSlice())
	}
	return eth.Frame(kind, b)
}

// mutate damages some frames: bytes changed, cut off or added, lengths that lie.
func (r *Random) mutate(frame []byte) []byte {
	if r.pick(0.05) {
		frame = append([]byte{}, frame...)
		for range 1 + r.IntN(3) {
			at := 12 + r.IntN(len(frame)-12)
			if r.pick(0.7) {
				at = 12 + r.IntN(min(len(frame)-12, 90)) // headers
			}
			frame[at] = byte(r.Uint32())
		}
	}
	if r.pick(0.03) {
		frame = r.shorten(frame)
	}
	if r.pick(0.02) {
		frame = frame[:14+r.IntN(len(frame)-13)]
	}
	if r.pick(0.1) {
		frame = append(append([]byte{}, frame...), make([]byte, r.IntN(40))...)
	}
	return frame
}

// shorten makes an IP packet end within, before or after one of its headers, and
// its length say so, mostly.
func (r *Random) shorten(frame []byte) []byte {
	p, _ := packet.Parse(frame)
	if p.Length == 0 {
		return frame
	}
	header := 20
	if p.Src.Is6() {
		header = 40
	}
	ends := []int{p.L3 + header, p.L4, p.L4 + 8, p.L4 + 12, p.L4 + 20}
	end := ends[r.IntN(len(ends))] + r.IntN(3) - 1
	if r.pick(0.3) {
		end = p.L3 + header + r.IntN(p.Length-header+1)
	}
	if end < p.L3+header || end > p.L3+p.Length {
		return frame
	}
	frame = append([]byte{}, frame[:end]...)
	length, at := end-p.L3, p.L3+2
	if header == 40 {
		length, at = length-40, p.L3+4
	}
	if r.pick(0.1) {
		length += r.IntN(5) - 2
	}
	frame[at], frame[at+1] = byte(length>>8), byte(length)
	return frame
}
