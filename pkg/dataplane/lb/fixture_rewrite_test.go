// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"slices"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

// sized is a UDP packet of so many bytes from its IP header on.
func sized(eth packet.Ethernet, ip packet.IP, sport, dport uint16, size int) []byte {
	empty := len(ip.Packet(packet.Ethernet{}, packet.UDP, ip.UDP(0, 0, nil))) - 14
	return ip.Packet(eth, packet.UDP, ip.UDP(sport, dport, somebody(size-empty)))
}

// mtuFixtures are packets as long as the MTU of their target's leg, and longer.
func mtuFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		fits := sized(eth, f.in, 4000, smallPort, smallMTU)
		list = append(list,
			fixture{name: "fits" + f.name, frame: fits, want: chosen(Forwarded, smallPort), out: sized(toSmall, f.out, 4000, smallPort, smallMTU)},
			fixture{
				name: "fits with NAT" + f.name, frame: sized(eth, f.in, 4000, cutPort, smallMTU),
				want: chosen(Forwarded, cutPort), out: sized(toSmall, f.out, 4000, cutTarget, smallMTU),
			},
			fixture{
				name: "padding is not counted" + f.name, frame: append(slices.Clone(fits), 0), want: chosen(Forwarded, smallPort),
				out: append(sized(toSmall, f.out, 4000, smallPort, smallMTU), 0),
			},
			fixture{
				name: "no limit" + f.name, frame: sized(eth, f.in, 4000, webPort, 3000), want: chosen(Forwarded, webPort),
				out: sized(toTarget, f.out, 4000, webPort, 3000),
			},
		)
		whole, expired := f.in, f.in
		if f.name == "4" {
			whole.Fragment = packet.FragmentDF
		}
		expired.TTL = 1
		used := sized(eth, expired, 4000, smallPort, smallMTU+1)
		list = append(list, fixture{
			name: "TTL first" + f.name, frame: used, want: chosen(DropTTL, smallPort),
			punts: event(slowpath.Event{Kind: slowpath.TimeExceeded}, used, l3(eth), 1500),
		})
		for _, size := range []int{smallMTU + 1, 3000} {
			big := sized(eth, whole, 4000, cutPort, size)
			list = append(list, fixture{
				name: "too big" + f.name, frame: big, want: chosen(DropTooBig, cutPort),
				punts: event(slowpath.Event{Kind: slowpath.TooBig, MTU: smallMTU}, big, l3(eth), 1500),
			})
		}
	}
	for port, target := range map[uint16]uint16{smallPort: 0, cutPort: cutTarget} {
		for _, size := range []int{smallMTU + 1, 3000} {
			big := sized(eth, fixFamilies[0].in, 4000, port, size)
			list = append(list, fixture{
				name: "cut4", frame: big, want: chosen(Fragmented, port), punts: event(cutEvent(smallMTU, 3, target), big, l3(eth), 1<<20),
			})
		}
	}
	return list
}

// natFixtures are packets to ports that are others at the target.
func natFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		add := func(name string, port uint16, frame, out []byte) {
			list = append(list, fixture{name: name + f.name, frame: frame, want: chosen(Forwarded, port), out: out})
		}
		for _, p := range fixProtocols {
			for port, target := range map[uint16]uint16{rulePort: ruleTarget, natPort: natTarget} {
				for _, size := range []int{0, 1, 2, 3, 4, 257, 1400} {
					add(p.name+" NAT", port,
						f.in.Packet(eth, p.proto, segment(f.in, p.proto, 4000, port, somebody(size))),
						f.out.Packet(toTarget, p.proto, segment(f.in, p.proto, 4000, target, somebody(size))))
				}
				in, out := request(eth, f.in, p.proto, port), request(toTarget, f.out, p.proto, target)
				add(p.name+" NAT, padding", port, append(slices.Clone(in), 1, 2, 3), append(slices.Clone(out), 1, 2, 3))
				in[len(in)-2]++ // the checksum has to stay wrong
				out[len(out)-2]++
				add(p.name+" NAT, wrong", port, in, out)
			}
		}
		at := l3(eth) + f.header() + 6
		in, out := request(eth, f.in, packet.UDP, natPort), request(toTarget, f.out, packet.UDP, natTarget)
		add("no checksum", natPort, patch(in, at, 0, 0), patch(out, 14+f.header()+6, 0, 0))
		zero := zeroSum(f.in, natTarget)
		out = f.out.Packet(toTarget, packet.UDP, f.in.UDP(4000, natTarget, zero))
		if sum := binary.BigEndian.Uint16(out[14+f.header()+6:]); sum != 0xffff {
			panic("the checksum does not come out as 0")
		}
		add("checksum becomes 0", natPort, f.in.Packet(eth, packet.UDP, f.in.UDP(4000, natPort, zero)), out)
	}
	v4, v6 := fixFamilies[0], fixFamilies[1]
	v4.in.Options, v4.out.Options = []byte{1, 1, 1, 1}, []byte{1, 1, 1, 1}
	v6.in.Extensions = []packet.Extension{packet.Options(packet.DstOptions, 33), packet.AuthHeader(4)}
	v6.out.Extensions = v6.in.Extensions
	for _, f := range []fixFamily{v4, v6} {
		for _, p := range fixProtocols {
			list = append(list, fixture{
				name: p.name + " NAT behind options" + f.name, frame: request(eth, f.in, p.proto, rulePort), want: chosen(Forwarded, rulePort),
				out: request(toTarget, f.out, p.proto, ruleTarget),
			})
		}
	}
	return list
}

// zeroSum is a payload with which the UDP checksum comes out as 0, which means
// that there is none and is sent as 0xffff.
func zeroSum(ip packet.IP, dport uint16) []byte {
	return ip.UDP(4000, dport, []byte{0, 0})[6:8]
}

// clampFixtures are SYNs, and what is none.
func clampFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		most := map[string]int{"4": 40, "6": 60}[f.name]
		big, ext, leg := packet.MSS(9000), packet.MSS(uint16(1500-most)), packet.MSS(uint16(smallMTU-most))
		odd, even := []byte{1}, []byte{4, 2, 1, 1}
		for name, c := range map[string]struct {
			flags         uint8
			port, target  uint16
			link          packet.Ethernet
			before, after []byte
		}{
			"MSS of the interface": {packet.SYN, webPort, webPort, toTarget, big, ext},
			"MSS of the leg":       {packet.SYN, smallPort, smallPort, toSmall, big, leg},
			"MSS of a SYN ACK":     {packet.SYN | packet.ACK, webPort, webPort, toTarget, big, ext},
			"MSS with NAT":         {packet.SYN, rulePort, ruleTarget, toTarget, big, ext},
			"MSS at an odd offset": {packet.SYN, webPort, webPort, toTarget, slices.Concat(odd, big, odd), slices.Concat(odd, ext, odd)},
			"MSS at an even one":   {packet.SYN, cutPort, cutTarget, toSmall, slices.Concat(even, big), slices.Concat(even, leg)},
			"odd and NAT":          {packet.SYN, cutPort, cutTarget, toSmall, slices.Concat(odd, big), slices.Concat(odd, leg)},
			"first of two":         {packet.SYN, webPort, webPort, toTarget, slices.Concat(big, big), slices.Concat(ext, big)},
			"last of forty bytes":  {packet.SYN, webPort, webPort, toTarget, slices.Concat(make36(), big), slices.Concat(make36(), ext)},
			"MSS that fits":        {packet.SYN, smallPort, smallPort, toSmall, leg, leg},
			"small MSS":            {packet.SYN, webPort, webPort, toTarget, packet.MSS(9), packet.MSS(9)},
			"no SYN":               {packet.ACK, webPort, webPort, toTarget, big, big},
			"after the end":        {packet.SYN, webPort, webPort, toTarget, slices.Concat(make([]byte, 4), big), slices.Concat(make([]byte, 4), big)},
			"option of length 0":   {packet.SYN, webPort, webPort, toTarget, slices.Concat([]byte{3, 0}, big), slices.Concat([]byte{3, 0}, big)},
			"option of length 1":   {packet.SYN, webPort, webPort, toTarget, slices.Concat([]byte{3, 1}, big), slices.Concat([]byte{3, 1}, big)},
			"option too long":      {packet.SYN, webPort, webPort, toTarget, slices.Concat([]byte{3, 99}, big), slices.Concat([]byte{3, 99}, big)},
			"MSS of length 3":      {packet.SYN, webPort, webPort, toTarget, []byte{2, 3, 0xff, 1}, []byte{2, 3, 0xff, 1}},
			"MSS cut":              {packet.SYN, webPort, webPort, toTarget, []byte{1, 1, 2, 4}, []byte{1, 1, 2, 4}},
			"no options":           {packet.SYN, webPort, webPort, toTarget, nil, nil},
		} {
			list = append(list, fixture{
				name: name + f.name, frame: f.in.Packet(eth, packet.TCP, f.in.TCPOptions(4000, c.port, c.flags, c.before, nil)), want: chosen(Forwarded, c.port),
				out: f.out.Packet(c.link, packet.TCP, f.in.TCPOptions(4000, c.target, c.flags, c.after, nil)),
			})
		}
		list = append(list, strangeOffsets(eth, f, big)...)
	}
	return list
}

// make36 is 36 bytes of options of 3 bytes each.
func make36() []byte { return slices.Repeat([]byte{9, 3, 0}, 12) }

// strangeOffsets are SYNs whose data begins within the header or after the packet.
func strangeOffsets(eth packet.Ethernet, f fixFamily, option []byte) (list []fixture) {
	small := packet.MSS(uint16(1500 - map[string]int{"4": 40, "6": 60}[f.name]))
	for name, c := range map[string]struct {
		offset byte
		after  []byte
	}{"no header": {0, option}, "short header": {4 << 4, option}, "bare header": {5 << 4, option}, "header beyond": {15 << 4, small}} {
		set := func(link packet.Ethernet, ip packet.IP, option []byte) []byte {
			b := f.in.TCPOptions(4000, webPort, packet.SYN, option, nil)
			was := b[12]
			b[12] = c.offset
			sum := binary.BigEndian.Uint16(b[16:])
			change := uint32(^sum) + uint32(^(uint16(was) << 8)) + uint32(c.offset)<<8
			for change > 0xffff {
				change = change&0xffff + change>>16
			}
			binary.BigEndian.PutUint16(b[16:], ^uint16(change))
			return ip.Packet(link, packet.TCP, b)
		}
		list = append(list, fixture{name: name + f.name, frame: set(eth, f.in, option), want: chosen(Forwarded, webPort), out: set(toTarget, f.out, c.after)})
	}
	return list
}
