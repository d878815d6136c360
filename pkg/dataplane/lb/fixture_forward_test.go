// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

func forwardFixtures(eth packet.Ethernet) (list []fixture) {
	web := chosen(Forwarded, webPort)
	for _, f := range fixFamilies {
		for _, p := range fixProtocols {
			in, out := request(eth, f.in, p.proto, webPort), request(toTarget, f.out, p.proto, webPort)
			two, one := f.in, f.out
			two.TTL, one.TTL = 2, 1
			list = append(list,
				fixture{name: p.name + f.name, frame: in, want: web, out: out},
				fixture{name: p.name + f.name + " padding", frame: append(slices.Clone(in), make([]byte, 18)...), want: web, out: append(slices.Clone(out), make([]byte, 18)...)},
				fixture{name: p.name + f.name + " TTL 2", frame: request(eth, two, p.proto, webPort), want: web, out: request(toTarget, one, p.proto, webPort)},
			)
		}
		bare, none := f.in.Packet(eth, packet.UDP, f.in.UDP(4000, webPort, nil)), f.in.Packet(eth, packet.TCP, f.in.TCP(4000, webPort, 0x10, nil))
		list = append(list,
			fixture{name: "empty udp" + f.name, frame: bare, want: web, out: f.out.Packet(toTarget, packet.UDP, f.in.UDP(4000, webPort, nil))},
			fixture{name: "empty tcp" + f.name, frame: none, want: web, out: f.out.Packet(toTarget, packet.TCP, f.in.TCP(4000, webPort, 0x10, nil))},
		)
	}
	nop := []byte{1, 1, 1, 1, 7, 4, 0, 0}
	return append(list, fixture{
		name: "options4", frame: flow4(eth, packet.TCP, 64, nop), want: web, out: flow4(toTarget, packet.TCP, 63, nop),
	})
}

// extensionFixtures are extension headers of any length, and what is too much.
func extensionFixtures(eth packet.Ethernet) (list []fixture) {
	eight := slices.Repeat([]packet.Extension{packet.Options(packet.DstOptions, 0)}, 8)
	mixed := []packet.Extension{
		packet.Options(packet.HopByHop, 3), packet.Options(packet.DstOptions, 1), packet.RoutingHeader(0),
		packet.FragmentHeader(0, false, 7), packet.AuthHeader(4), packet.Options(packet.DstOptions, 40),
	}
	for name, chain := range map[string][]packet.Extension{
		"hop by hop": {packet.Options(packet.HopByHop, 0)}, "options": {packet.Options(packet.DstOptions, 20)},
		"longest options": {packet.Options(packet.DstOptions, 255)}, "routing": {packet.RoutingHeader(0)},
		"AH": {packet.AuthHeader(4)}, "longest AH": {packet.AuthHeader(254)}, "atomic fragment": {packet.FragmentHeader(0, false, 7)},
		"eight": eight, "mixed": mixed, "long ones": slices.Repeat([]packet.Extension{packet.Options(packet.HopByHop, 40)}, 8),
	} {
		for _, p := range fixProtocols {
			list = append(list, fixture{
				name: name + " " + p.name + "6", frame: flow6(eth, p.proto, 64, chain...), want: chosen(Forwarded, webPort),
				out: flow6(toTarget, p.proto, 63, chain...),
			})
		}
	}
	cut := packet.Options(packet.HopByHop, 0)
	cut.Body = cut.Body[:4]
	for name, c := range map[string]struct {
		frame []byte
		want  Reason
	}{
		"nine":                     {flow6(eth, packet.TCP, 64, append(eight, packet.Options(packet.DstOptions, 0))...), DropExtension},
		"nine of any kind":         {flow6(eth, packet.TCP, 64, append(slices.Clone(mixed), eight[:3]...)...), DropExtension},
		"segments left":            {flow6(eth, packet.TCP, 64, packet.RoutingHeader(1)), DropExtension},
		"segments left, later":     {flow6(eth, packet.TCP, 64, eight[0], packet.RoutingHeader(3)), DropExtension},
		"extension beyond payload": {patch(flow6(eth, packet.TCP, 64, packet.Options(packet.HopByHop, 0)), l3(eth)+41, 9), DropMalformed},
		"AH beyond payload":        {patch(flow6(eth, packet.UDP, 64, packet.AuthHeader(4)), l3(eth)+41, 200), DropMalformed},
		"extension cut":            {packet.IP{Src: fixSrc6, Dst: fixVIP6, Extensions: []packet.Extension{cut}}.Packet(eth, packet.NoNext, nil), DropMalformed},
		"nothing after":            {flow6(eth, packet.NoNext, 64, packet.Options(packet.HopByHop, 0)), DropProtocol},
	} {
		list = append(list, fixture{name: name + "6", frame: c.frame, want: because(c.want)})
	}
	return append(list, authFixtures(eth)...)
}

// authFixtures are authentication headers in IPv4.
func authFixtures(eth packet.Ethernet) []fixture {
	in, out := fixFamilies[0].in, fixFamilies[0].out
	in.Extensions, out.Extensions = []packet.Extension{packet.AuthHeader(4)}, []packet.Extension{packet.AuthHeader(4)}
	options := in
	options.Extensions = []packet.Extension{packet.Options(packet.HopByHop, 0)}
	many := in
	many.Extensions = slices.Repeat(in.Extensions, 9)
	return []fixture{
		{name: "AH4", frame: request(eth, in, packet.UDP, webPort), want: chosen(Forwarded, webPort), out: request(toTarget, out, packet.UDP, webPort)},
		{name: "AH with NAT4", frame: request(eth, in, packet.TCP, rulePort), want: chosen(Forwarded, rulePort), out: request(toTarget, out, packet.TCP, ruleTarget)},
		{name: "AH beyond payload4", frame: patch(request(eth, in, packet.UDP, webPort), l3(eth)+21, 99), want: because(DropMalformed)},
		{name: "nine AH4", frame: request(eth, many, packet.UDP, webPort), want: because(DropExtension)},
		{name: "IPv6 options in IPv4", frame: request(eth, options, packet.UDP, webPort), want: because(DropProtocol)},
	}
}

// rangeFixtures are VIPs within VIPs.
func rangeFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		to := func(ip packet.IP, dst netip.Addr) packet.IP { ip.Dst = dst; return ip }
		v := ranges[f.name]
		inside, around := v.narrow.Addr().Next(), v.wide.Addr().Next()
		wide := Verdict{Reason: Forwarded, Stream: 1, Flow: rangeFlow, Target: 1}
		own := Verdict{Reason: Forwarded, Stream: 5, Flow: insideFlow, Target: 3}
		for name, c := range map[string]struct {
			dst    netip.Addr
			proto  uint8
			port   uint16
			want   Verdict
			link   packet.Ethernet
			target uint16
		}{
			"around":          {around, packet.TCP, smallPort, wide, toTarget, smallPort},
			"inherited rule":  {inside, packet.TCP, webPort, wide, toTarget, webPort},
			"rule of its own": {inside, packet.TCP, smallPort, own, toSmall, smallPort},
			"inherited NAT":   {inside, packet.TCP, natPort, wide, toTarget, natTarget},
			"NAT of its own":  {inside, packet.UDP, natPort, wide, toTarget, natTarget + 1},
			"NAT around":      {around, packet.UDP, natPort, wide, toTarget, natTarget},
		} {
			list = append(list, fixture{
				name: name + f.name, frame: request(eth, to(f.in, c.dst), c.proto, c.port), want: c.want,
				out: request(c.link, to(f.out, c.dst), c.proto, c.target),
			})
		}
	}
	return list
}

// byteMatchFixtures are packets that have the bytes, others, or end before them.
func byteMatchFixtures(eth packet.Ethernet) (list []fixture) {
	good := Verdict{Reason: Forwarded, Stream: bytesStream, Flow: bytesFlow, Target: 1}
	for _, f := range fixFamilies {
		udp := func(eth packet.Ethernet, ip packet.IP, text string) []byte {
			return ip.Packet(eth, packet.UDP, ip.UDP(4000, bytesPort, []byte(text)))
		}
		list = append(list,
			fixture{name: "bytes" + f.name, frame: udp(eth, f.in, "hello"), want: good, out: udp(toTarget, f.out, "hello")},
			fixture{name: "bytes to the end" + f.name, frame: udp(eth, f.in, "hell"), want: good, out: udp(toTarget, f.out, "hell")},
			fixture{name: "other bytes" + f.name, frame: udp(eth, f.in, "hallo"), want: because(DropNoFlow)},
			fixture{name: "bytes beyond" + f.name, frame: udp(eth, f.in, "hel"), want: because(DropNoFlow)},
			fixture{name: "bytes in padding" + f.name, frame: append(udp(eth, f.in, "hel"), "lo"...), want: because(DropNoFlow)},
			fixture{name: "bytes of TCP" + f.name, frame: request(eth, f.in, packet.TCP, bytesPort), want: good, out: request(toTarget, f.out, packet.TCP, bytesPort)},
			fixture{name: "no bytes of SCTP" + f.name, frame: request(eth, f.in, packet.SCTP, bytesPort), want: good, out: request(toTarget, f.out, packet.SCTP, bytesPort)},
		)
	}
	return list
}

func dropFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		far, none := f.in, f.in
		far.Src, none.TTL = netip.MustParseAddr(map[string]string{"4": "10.1.0.1", "6": "2001:db9::1"}[f.name]), 1
		expired := request(eth, none, packet.TCP, webPort)
		list = append(list, fixture{
			name: "TTL 1" + f.name, frame: expired, want: chosen(DropTTL, webPort),
			punts: event(slowpath.Event{Kind: slowpath.TimeExceeded}, expired, l3(eth), 1500),
		})
		for name, c := range map[string]struct {
			frame []byte
			want  Verdict
		}{
			"other port":           {request(eth, f.in, packet.TCP, 81), because(DropNoFlow)},
			"other source":         {request(eth, far, packet.TCP, webPort), because(DropNoFlow)},
			"stream without table": {request(eth, f.in, packet.UDP, 443), matched(DropNoTarget, 443)},
			"slot without target":  {request(eth, f.in, packet.TCP, 444), matched(DropNoTarget, 444)},
			"deleted target":       {request(eth, f.in, packet.SCTP, 445), matched(DropNoTarget, 445)},
			"gre":                  {f.in.Packet(eth, 47, make([]byte, 20)), because(DropProtocol)},
			"no payload":           {f.in.Packet(eth, packet.UDP, nil), because(DropMalformed)},
			"short tcp":            {f.in.Packet(eth, packet.TCP, make([]byte, 19)), because(DropMalformed)},
			"short udp":            {f.in.Packet(eth, packet.UDP, make([]byte, 7)), because(DropMalformed)},
			"short sctp":           {f.in.Packet(eth, packet.SCTP, make([]byte, 11)), because(DropMalformed)},
			"short in padding":     {append(f.in.Packet(eth, packet.UDP, make([]byte, 7)), 0, 0), because(DropMalformed)},
			"version 5":            {patch(request(eth, f.in, packet.TCP, webPort), l3(eth), 0x55), because(DropMalformed)},
		} {
			list = append(list, fixture{name: name + f.name, frame: c.frame, want: c.want})
		}
	}
	at := l3(eth)
	for name, frame := range map[string][]byte{
		"ihl 4":                patch(flow4(eth, packet.TCP, 64, nil), at, 0x44),
		"total beyond frame":   patch(flow4(eth, packet.TCP, 64, nil), at+2, 0x01),
		"total below header":   patch(flow4(eth, packet.TCP, 64, nil), at+2, 0, 19),
		"payload beyond frame": patch(flow6(eth, packet.TCP, 64), at+4, 0x01),
	} {
		list = append(list, fixture{name: name, frame: frame, want: because(DropMalformed)})
	}
	return list
}
