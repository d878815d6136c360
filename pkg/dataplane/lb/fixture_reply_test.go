// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"slices"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

// replyFixtures are frames from legs. The neighbour layer gives them their link
// layer, so that they keep the one they have.
func replyFixtures(eth packet.Ethernet) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	add := func(name string, frame []byte, want Reason, sent []byte) {
		list = append(list, fixture{name: name, frame: frame, want: because(want), out: sent, reply: true})
	}
	for _, f := range fixFamilies {
		for _, p := range fixProtocols {
			for port, target := range map[uint16]uint16{webPort: webPort, rulePort: ruleTarget, natPort: natTarget, cutPort: cutTarget} {
				in, sent := response(eth, f.reply, p.proto, target), response(out, f.replied, p.proto, port)
				add(p.name+" reply"+f.name, in, ReplyForwarded, sent)
				add(p.name+" reply, padded"+f.name, append(slices.Clone(in), 1, 2), ReplyForwarded, append(slices.Clone(sent), 1, 2))
				in[len(in)-2]++
				sent[len(sent)-2]++
				add(p.name+" reply, wrong checksum"+f.name, in, ReplyForwarded, sent)
			}
			inside, sent := f.reply, f.replied
			inside.Src = ranges[f.name].narrow.Addr()
			sent.Src = inside.Src
			port := map[bool]uint16{true: natTarget + 1, false: natTarget}[p.proto == packet.UDP]
			add(p.name+" reply from a range"+f.name, response(eth, inside, p.proto, port), ReplyForwarded, response(out, sent, p.proto, natPort))
		}
		silent, silently := response(eth, f.reply, packet.UDP, natTarget), response(out, f.replied, packet.UDP, natPort)
		add("reply without checksum"+f.name, patch(silent, l3(eth)+f.header()+6, 0, 0), ReplyForwarded, patch(silently, 14+f.header()+6, 0, 0))
		zero := f.replied.UDP(natPort, 4000, []byte{0, 0})[6:8]
		add("reply whose checksum becomes 0"+f.name, f.reply.Packet(eth, packet.UDP, f.reply.UDP(natTarget, 4000, zero)), ReplyForwarded,
			f.replied.Packet(out, packet.UDP, f.replied.UDP(natPort, 4000, zero)))
		list = append(list, strangeReplies(eth, f)...)
		list = append(list, replyErrors(eth, f)...)
		list = append(list, replyFragments(eth, f)...)
		list = append(list, replyLimits(eth, f)...)
		list = append(list, replyClamp(eth, f)...)
	}
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: routerMAC, SenderIP: fixVIP4, TargetIP: gate4}
	add("arp of a leg", arp.Frame(packet.Ethernet{Dst: broadcast, Src: eth.Src, Tags: eth.Tags}), PassReply, nil)
	arp.Op = packet.ARPReply
	add("arp reply of a leg", arp.Frame(eth), PassARP, nil)
	add("lldp of a leg", eth.Frame(0x88cc, make([]byte, 46)), PassNotIP, nil)
	if len(eth.Tags) == 0 {
		add("vlan of a leg", response(tagged(eth, packet.Tag{TCI: 5}), fixFamilies[0].reply, packet.TCP, webPort), PassVLAN, nil)
	}
	return list
}

// strangeReplies need not be understood to be sent on.
func strangeReplies(eth packet.Ethernet, f fixFamily) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	same := func(name string, in, replied packet.IP, proto uint8, body []byte) {
		list = append(list, fixture{
			name: name + f.name, frame: in.Packet(eth, proto, body), want: because(ReplyForwarded), out: replied.Packet(out, proto, body), reply: true,
		})
	}
	proto, echo := f.reply.ICMP(f.answer, 0, somebody(12))
	same("echo reply", f.reply, f.replied, proto, echo)
	_, ask := f.reply.ICMP(f.request, 0, somebody(12))
	same("ping of a workload", f.reply, f.replied, proto, ask)
	same("gre", f.reply, f.replied, 47, somebody(30))
	last, one := f.reply, f.replied
	last.TTL, one.TTL = 2, 1
	same("TTL 2", last, one, packet.UDP, f.reply.UDP(webPort, 4000, nil))
	if f.name == "6" {
		many, sent := f.reply, f.replied
		many.Extensions = slices.Repeat([]packet.Extension{packet.Options(packet.DstOptions, 2)}, 9)
		sent.Extensions = many.Extensions
		same("nine extensions", many, sent, packet.UDP, f.reply.UDP(natTarget, 4000, nil))
	}
	away := f.reply
	away.Src = f.in.Src
	bad := func(name string, want Reason, frame []byte) {
		list = append(list, fixture{name: name + f.name, frame: frame, want: because(want), reply: true})
	}
	bad("no VIP", PassReply, response(eth, away, packet.TCP, webPort))
	bad("short tcp of a leg", DropMalformed, f.reply.Packet(eth, packet.TCP, make([]byte, 19)))
	bad("version 5 of a leg", DropMalformed, patch(response(eth, f.reply, packet.TCP, webPort), l3(eth), 0x55))
	return list
}

// replyErrors are ICMP errors of workloads: they quote the port that they got.
func replyErrors(eth packet.Ethernet, f fixFamily) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	for _, p := range fixProtocols {
		for port, target := range map[uint16]uint16{webPort: webPort, rulePort: ruleTarget, natPort: natTarget} {
			about, really := request(packet.Ethernet{}, f.out, p.proto, target), request(packet.Ethernet{}, f.out, p.proto, port)
			if p.proto == packet.SCTP {
				copy(really[14+f.header()+8:14+f.header()+12], about[14+f.header()+8:])
			}
			for _, size := range []int{f.header() + 8, 0} {
				list = append(list, fixture{
					name: p.name + " error of a workload" + f.name, frame: quote(eth, f.reply, f.unreachable, 0, about, size),
					want: because(ReplyForwarded), out: quote(out, f.replied, f.unreachable, 0, really, size), reply: true,
				})
			}
		}
	}
	// An error about a packet to somebody else is no business of ours.
	other := f.out
	other.Dst = f.gateway
	about := request(packet.Ethernet{}, other, packet.TCP, ruleTarget)
	return append(list, fixture{
		name: "foreign error of a workload" + f.name, frame: quote(eth, f.reply, f.unreachable, 0, about, 0),
		want: because(ReplyForwarded), out: quote(out, f.replied, f.unreachable, 0, about, 0), reply: true,
	})
}

func replyFragments(eth packet.Ethernet, f fixFamily) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	for _, p := range fixProtocols {
		for port, target := range map[uint16]uint16{webPort: webPort, rulePort: ruleTarget} {
			id := numbered(&f.reply, &f.replied)
			in := packet.Fragments(f.reply.Packet(eth, p.proto, segment(f.reply, p.proto, target, 4000, somebody(99))), 48, id)
			sent := packet.Fragments(f.replied.Packet(out, p.proto, segment(f.reply, p.proto, port, 4000, somebody(99))), 48, id)
			for i := range in {
				fix := fixture{name: p.name + " fragment of a reply" + f.name, frame: in[i], want: because(ReplyForwarded), out: sent[i], reply: true}
				if i == 0 && p.proto == packet.SCTP && port != target {
					fix.want, fix.out = because(DropNAT), nil
				}
				list = append(list, fix)
			}
		}
	}
	return list
}

// replyLimits are replies whose TTL is used up or that are longer than the MTU of
// the external interface.
func replyLimits(eth packet.Ethernet, f fixFamily) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	add := func(name string, frame []byte, want Reason, e slowpath.Event) {
		e.Reply = true
		f := fixture{name: name + f.name, frame: frame, want: because(want), reply: true}
		if e.Kind != 0 {
			f.punts = event(e, frame, l3(eth), map[bool]int{true: 1 << 20, false: 1500}[e.Kind == slowpath.Fragment])
		}
		list = append(list, f)
	}
	whole, expired := f.reply, f.reply
	expired.TTL = 1
	if f.name == "4" {
		whole.Fragment = packet.FragmentDF
		add("cut reply", sized(eth, f.reply, webPort, 4000, 1501), Fragmented, slowpath.Event{Kind: slowpath.Fragment, MTU: 1500})
		add("cut reply with NAT", sized(eth, f.reply, natTarget, 4000, 1501), Fragmented, slowpath.Event{Kind: slowpath.Fragment, MTU: 1500, Port: natPort})
	}
	add("TTL 1 of a leg", response(eth, expired, packet.TCP, webPort), DropTTL, slowpath.Event{Kind: slowpath.TimeExceeded})
	add("big reply", sized(eth, whole, natTarget, 4000, 1501), DropTooBig, slowpath.Event{Kind: slowpath.TooBig, MTU: 1500})
	// Nobody is told about an error.
	add("TTL 1 of an error", quote(eth, expired, f.unreachable, 0, request(packet.Ethernet{}, f.out, packet.TCP, webPort), 0), DropTTL, slowpath.Event{})
	return append(list, fixture{
		name: "longest reply" + f.name, frame: sized(eth, f.reply, natTarget, 4000, 1500), want: because(ReplyForwarded),
		out: sized(out, f.replied, natPort, 4000, 1500), reply: true,
	})
}

func replyClamp(eth packet.Ethernet, f fixFamily) (list []fixture) {
	out := packet.Ethernet{Dst: eth.Dst, Src: eth.Src}
	big, small := packet.MSS(9000), packet.MSS(uint16(1500-map[string]int{"4": 40, "6": 60}[f.name]))
	odd := []byte{1}
	syn := func(link packet.Ethernet, ip packet.IP, port uint16, flags uint8, options ...[]byte) []byte {
		return ip.Packet(link, packet.TCP, ip.TCPOptions(port, 4000, flags, slices.Concat(options...), nil))
	}
	for name, c := range map[string]struct{ frame, out []byte }{
		"MSS of a reply":  {syn(eth, f.reply, webPort, packet.SYN|packet.ACK, big), syn(out, f.replied, webPort, packet.SYN|packet.ACK, small)},
		"odd and NAT":     {syn(eth, f.reply, ruleTarget, packet.SYN, odd, big), syn(out, f.replied, rulePort, packet.SYN, odd, small)},
		"ACK of a reply":  {syn(eth, f.reply, webPort, packet.ACK, big), syn(out, f.replied, webPort, packet.ACK, big)},
		"fits in a reply": {syn(eth, f.reply, webPort, packet.SYN, small), syn(out, f.replied, webPort, packet.SYN, small)},
	} {
		list = append(list, fixture{name: name + f.name, frame: c.frame, want: because(ReplyForwarded), out: c.out, reply: true})
	}
	return list
}
