// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/packet"
)

func message(eth packet.Ethernet, ip packet.IP, kind, code uint8, rest []byte) []byte {
	proto, b := ip.ICMP(kind, code, rest)
	return ip.Packet(eth, proto, b)
}

// echoFixtures are pings, and other messages that are no errors.
func echoFixtures(eth packet.Ethernet) (list []fixture) {
	back := packet.Ethernet{Dst: eth.Src, Src: extMAC, Tags: eth.Tags}
	for _, f := range fixFamilies {
		for name, size := range map[string]int{"echo": 4, "echo of an odd size": 61, "long echo": 1473} {
			for _, ttl := range []uint8{1, 64, 255} { // it need not go on
				ask := f.in
				ask.TTL = ttl
				list = append(list, fixture{
					name: name + f.name, frame: message(eth, ask, f.request, 0, somebody(size)), want: because(EchoAnswered),
					out: message(back, f.reply, f.answer, 0, somebody(size)),
				})
			}
		}
		padded := append(message(eth, f.in, f.request, 0, somebody(4)), make([]byte, 18)...)
		answer := append(message(back, f.reply, f.answer, 0, somebody(4)), make([]byte, 18)...)
		within, answered := f.in, f.reply
		within.Dst, answered.Src = ranges[f.name].narrow.Addr(), ranges[f.name].narrow.Addr()
		list = append(list,
			fixture{name: "padded echo" + f.name, frame: padded, want: because(EchoAnswered), out: answer},
			fixture{name: "echo within a range" + f.name, frame: message(eth, within, f.request, 0, somebody(8)), want: because(EchoAnswered), out: message(back, answered, f.answer, 0, somebody(8))},
			fixture{name: "echo of code 1" + f.name, frame: message(eth, f.in, f.request, 1, somebody(8)), want: because(DropICMP)},
			fixture{name: "echo reply" + f.name, frame: message(eth, f.in, f.answer, 0, somebody(8)), want: because(DropICMP)},
			fixture{name: "redirect" + f.name, frame: message(eth, f.in, map[string]uint8{"4": 5, "6": 137}[f.name], 0, somebody(40)), want: because(DropICMP)},
			fixture{name: "short icmp" + f.name, frame: message(eth, f.in, f.request, 0, somebody(3)), want: because(DropMalformed)},
			fixture{name: "icmp of the other family" + f.name, frame: f.in.Packet(eth, map[string]uint8{"4": packet.ICMPv6, "6": packet.ICMP}[f.name], somebody(20)), want: because(DropProtocol)},
		)
	}
	ip, out := fixFamilies[1].in, fixFamilies[1].reply
	ip.Extensions = []packet.Extension{packet.Options(packet.HopByHop, 5), packet.AuthHeader(2)}
	out.Extensions = ip.Extensions
	options, answered := fixFamilies[0].in, fixFamilies[0].reply
	options.Options, answered.Options = []byte{1, 1, 1, 1}, []byte{1, 1, 1, 1}
	return append(list,
		fixture{name: "echo behind extensions", frame: message(eth, ip, packet.EchoRequestV6, 0, somebody(9)), want: because(EchoAnswered), out: message(back, out, packet.EchoReplyV6, 0, somebody(9))},
		fixture{name: "echo behind options", frame: message(eth, options, packet.EchoRequestV4, 0, somebody(9)), want: because(EchoAnswered), out: message(back, answered, packet.EchoReplyV4, 0, somebody(9))},
	)
}

// quote is an ICMP error from somewhere on the way about a packet, of which size
// bytes are quoted, 0: all.
func quote(eth packet.Ethernet, ip packet.IP, kind uint8, word uint32, quoted []byte, size int) []byte {
	quoted = quoted[14:]
	if size == 0 {
		size = len(quoted)
	}
	proto, b := ip.ICMPError(kind, 0, word, quoted[:size])
	return ip.Packet(eth, proto, b)
}

// header is the length of the IP header of a family.
func (f fixFamily) header() int {
	if f.in.Src.Is4() {
		return 20
	}
	return 40
}

// router is a packet as the routers on the way send it to the VIP.
func (f fixFamily) router(ip packet.IP) packet.IP {
	ip.Src = netip.MustParseAddr(map[string]string{"4": "172.31.0.1", "6": "fd31::1"}[f.name])
	return ip
}

// errorFixtures are ICMP errors about packets of targets. The ports that they
// quote are translated like those of the packets.
func errorFixtures(eth packet.Ethernet) (list []fixture) {
	kinds := map[string][]uint8{"4": {3, 11, 12}, "6": {1, 2, 3, 4}}
	var none packet.Ethernet
	for _, f := range fixFamilies {
		in, out := f.router(f.in), f.router(f.out)
		for _, p := range fixProtocols {
			about := response(none, f.replied, p.proto, webPort)
			for _, kind := range kinds[f.name] {
				list = append(list, fixture{
					name: p.name + f.name + " error", frame: quote(eth, in, kind, 1400, about, 0),
					want: chosen(ICMPForwarded, webPort), out: quote(toTarget, out, kind, 1400, about, 0),
				})
			}
			for port, target := range map[uint16]uint16{webPort: webPort, rulePort: ruleTarget, natPort: natTarget} {
				about, really := response(none, f.replied, p.proto, port), response(none, f.replied, p.proto, target)
				if p.proto == packet.SCTP { // whose checksum is left alone
					copy(really[14+f.header()+8:14+f.header()+12], about[14+f.header()+8:])
				}
				for _, size := range []int{f.header() + 8, f.header() + 17, f.header() + 18, 0} {
					if size > len(about)-14 {
						continue
					}
					want := really
					if p.proto == packet.TCP && size == f.header()+17 { // half of a checksum
						want = slices.Clone(really)
						want[14+f.header()+16] = about[14+f.header()+16]
					}
					list = append(list, fixture{
						name: p.name + f.name + " quote", frame: quote(eth, in, f.unreachable, 0, about, size),
						want: chosen(ICMPForwarded, port), out: quote(toTarget, out, f.unreachable, 0, want, size),
					})
				}
			}
		}
		list = append(list, errorsElsewhere(eth, f)...)
		list = append(list, foreignErrors(eth, f)...)
	}
	return append(list, quotedHeaders(eth)...)
}

// errorsElsewhere are errors that share the fate of what they are about.
func errorsElsewhere(eth packet.Ethernet, f fixFamily) []fixture {
	in, expired := f.router(f.in), f.router(f.in)
	expired.TTL = 1
	about := func(port uint16) []byte {
		return f.replied.Packet(packet.Ethernet{}, packet.UDP, f.replied.UDP(port, 4000, somebody(1400)))
	}
	silent := about(natPort)
	silent[14+f.header()+6], silent[14+f.header()+7] = 0, 0
	translated := about(natTarget)
	translated[14+f.header()+6], translated[14+f.header()+7] = 0, 0
	tooBig := fixture{
		name: "error too big" + f.name, frame: quote(eth, in, f.unreachable, 0, about(smallPort), 0), want: chosen(DropTooBig, smallPort),
	}
	if f.name == "4" { // cut, as it may be
		tooBig.want.Reason = Fragmented
		tooBig.punts = event(cutEvent(smallMTU, 3, 0), tooBig.frame, l3(eth), 1<<20)
	}
	return []fixture{
		tooBig,
		{name: "error without rule" + f.name, frame: quote(eth, in, f.unreachable, 0, about(81), 40+8), want: because(DropNoFlow)},
		{name: "error without target" + f.name, frame: quote(eth, in, f.unreachable, 0, about(444), 40+8), want: matched(DropNoTarget, 444)},
		{name: "error with TTL 1" + f.name, frame: quote(eth, expired, f.unreachable, 0, about(webPort), 40+8), want: chosen(DropTTL, webPort)},
		{name: "byte match beyond the ports" + f.name, frame: quote(eth, in, f.unreachable, 0, about(bytesPort), 0), want: because(DropNoFlow)},
		{
			name: "byte match on the ports" + f.name, want: Verdict{Reason: ICMPForwarded, Stream: bytesStream, Flow: bytesFlow, Target: 1},
			frame: quote(eth, in, f.unreachable, 0, response(packet.Ethernet{}, f.replied, packet.TCP, bytesPort), 0),
			out:   quote(toTarget, f.router(f.out), f.unreachable, 0, response(packet.Ethernet{}, f.replied, packet.TCP, bytesPort), 0),
		},
		{
			name: "quote of UDP without checksum" + f.name, want: chosen(ICMPForwarded, natPort),
			frame: quote(eth, in, f.unreachable, 0, silent, 100), out: quote(toTarget, f.router(f.out), f.unreachable, 0, translated, 100),
		},
	}
}

// foreignErrors are errors about something else, or about nothing that can be
// told.
func foreignErrors(eth packet.Ethernet, f fixFamily) (list []fixture) {
	in, h := f.router(f.in), f.header()
	about := func() []byte { return response(packet.Ethernet{}, f.replied, packet.UDP, webPort) }
	other, mine := f.replied, f.in
	other.Src = in.Src
	later, gre := f.replied, f.replied.Packet(packet.Ethernet{}, 47, somebody(20))
	later.Fragment, later.Extensions = 5, nil
	five := f.replied
	five.Extensions = slices.Repeat([]packet.Extension{packet.AuthHeader(2)}, 5)
	if f.name == "6" {
		later.Extensions = []packet.Extension{packet.FragmentHeader(5, false, 1)}
	}
	for name, c := range map[string]struct {
		quoted []byte
		size   int
	}{
		"of another address":    {response(packet.Ethernet{}, other, packet.UDP, webPort), 0},
		"in our direction":      {response(packet.Ethernet{}, mine, packet.UDP, webPort), 0},
		"of another protocol":   {gre, 0},
		"of a later fragment":   {response(packet.Ethernet{}, later, packet.UDP, webPort), 0},
		"of the other version":  {patch(about(), 14, map[string]byte{"4": 0x65, "6": 0x40}[f.name]), 0},
		"cut within ports":      {about(), h + 7},
		"cut within the header": {about(), h - 1},
		"behind five headers":   {response(packet.Ethernet{}, five, packet.UDP, webPort), 0},
		"of an ICMP error":      {quote(packet.Ethernet{}, f.replied, f.unreachable, 0, about(), 0), 0},
	} {
		list = append(list, fixture{name: name + f.name, frame: quote(eth, in, f.unreachable, 0, c.quoted, c.size), want: because(DropICMP)})
	}
	nothing := message(eth, in, f.unreachable, 0, make([]byte, 4))
	padded := append(quote(eth, in, f.unreachable, 0, about(), h+7), about()[14+h+7:]...)
	return append(list,
		fixture{name: "no quote" + f.name, frame: nothing, want: because(DropICMP)},
		fixture{name: "quote in padding" + f.name, frame: padded, want: because(DropICMP)},
	)
}

// quotedHeaders are quotes whose transport is not where it mostly is.
func quotedHeaders(eth packet.Ethernet) (list []fixture) {
	add := func(name string, f fixFamily, quoted packet.IP, want Reason) {
		before := response(packet.Ethernet{}, quoted, packet.TCP, rulePort)
		after := response(packet.Ethernet{}, quoted, packet.TCP, ruleTarget)
		fix := fixture{name: name + f.name, frame: quote(eth, f.router(f.in), f.unreachable, 0, before, 0), want: because(want)}
		if want == ICMPForwarded {
			fix.want, fix.out = chosen(want, rulePort), quote(toTarget, f.router(f.out), f.unreachable, 0, after, 0)
		}
		list = append(list, fix)
	}
	for _, f := range fixFamilies {
		for n, want := range map[int]Reason{1: ICMPForwarded, 4: ICMPForwarded, 5: DropICMP} {
			ip := f.replied
			ip.Extensions = slices.Repeat([]packet.Extension{packet.AuthHeader(4)}, n)
			add("quoted AH", f, ip, want)
		}
	}
	v4, v6 := fixFamilies[0], fixFamilies[1]
	options, first := v4.replied, v4.replied
	options.Options, first.Fragment = []byte{7, 7, 4, 0, 0, 0, 0, 0}, packet.FragmentMF
	add("quoted options", v4, options, ICMPForwarded)
	add("quoted first fragment", v4, first, ICMPForwarded)
	for name, chain := range map[string][]packet.Extension{
		"quoted hop by hop": {packet.Options(packet.HopByHop, 9)}, "quoted routing": {packet.RoutingHeader(0)},
		"quoted first fragment": {packet.FragmentHeader(0, true, 9)}, "quoted long options": {packet.Options(packet.DstOptions, 100)},
	} {
		ip := v6.replied
		ip.Extensions = chain
		add(name, v6, ip, ICMPForwarded)
	}
	ip := v6.replied
	ip.Extensions = []packet.Extension{packet.RoutingHeader(1)}
	add("quoted segments left", v6, ip, DropICMP)
	return list
}
