// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"slices"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

// fixtureID numbers packets that are sent in fragments; it goes beyond 16 bits
// only in IPv6.
var fixtureID uint32

// numbered gives a packet, before and after the program, an id of its own.
func numbered(ips ...*packet.IP) uint32 {
	fixtureID++
	for _, ip := range ips {
		ip.ID = uint16(fixtureID)
	}
	return fixtureID<<16 | fixtureID&0xffff
}

// key is what the fragments of a packet are known by.
func (f fixFamily) key(id uint32, proto uint8) slowpath.FragmentKey {
	k := slowpath.FragmentKey{Src: f.in.Src, Dst: f.in.Dst, ID: id}
	if f.name == "4" {
		k.ID, k.Proto = id&0xffff, proto
	}
	return k
}

func park(k slowpath.FragmentKey, frame []byte, eth packet.Ethernet) []slowpath.Event {
	return event(slowpath.Event{Kind: slowpath.Park, Key: k}, frame, l3(eth), 1<<20)
}

func cutEvent(mtu int, target, port uint16) slowpath.Event {
	return slowpath.Event{Kind: slowpath.Fragment, MTU: mtu, Target: target, Port: port}
}

// fragmentFixtures are fragments in order and out of it.
func fragmentFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		for _, p := range fixProtocols {
			for port, target := range map[uint16]uint16{webPort: webPort, rulePort: ruleTarget, natPort: natTarget} {
				if p.proto == packet.SCTP && port != webPort {
					continue
				}
				list = append(list, fragmentsOf(eth, f, p.proto, port, target)...)
			}
		}
		list = append(list, fragmentKeys(eth, f)...)
	}
	for name, chain := range map[string][]packet.Extension{
		"AH": {packet.AuthHeader(4)}, "options behind": {packet.Options(packet.DstOptions, 1)},
		"hop by hop before": {packet.Options(packet.HopByHop, 1)}, "routing before": {packet.RoutingHeader(0)},
	} {
		f := fixFamilies[1]
		f.in.Extensions, f.out.Extensions = chain, chain
		for _, fix := range fragmentsOf(eth, f, packet.UDP, webPort, webPort) {
			fix.name = name + " " + fix.name
			list = append(list, fix)
		}
	}
	f := fixFamilies[0]
	f.in.Extensions, f.out.Extensions = []packet.Extension{packet.AuthHeader(1)}, []packet.Extension{packet.AuthHeader(1)}
	auth := fragmentsOf(eth, f, packet.UDP, webPort, webPort)
	for i := range auth {
		for j := range auth[i].punts {
			auth[i].punts[j].Key.Proto = packet.AH // that of the IP header
		}
	}
	return append(list, auth...)
}

// fragmentsOf is a packet in fragments of 48 bytes: the second one comes too soon,
// and once more.
func fragmentsOf(eth packet.Ethernet, f fixFamily, proto uint8, port, target uint16) []fixture {
	id := numbered(&f.in, &f.out)
	in := packet.Fragments(f.in.Packet(eth, proto, segment(f.in, proto, 4000, port, somebody(99))), 48, id)
	out := packet.Fragments(f.out.Packet(toTarget, proto, segment(f.out, proto, 4000, target, somebody(99))), 48, id)
	later := chosen(FragmentForwarded, port)
	last := len(in) - 1
	padded, sent := append(slices.Clone(in[last]), 0, 0, 0), append(slices.Clone(out[last]), 0, 0, 0)
	return []fixture{
		{name: "too soon" + f.name, frame: in[1], want: because(FragmentParked), punts: park(f.key(id, proto), in[1], eth)},
		{name: "first" + f.name, frame: in[0], want: chosen(Forwarded, port), out: out[0]},
		{name: "last" + f.name, frame: in[last], want: later, out: out[last]},
		{name: "last, padded" + f.name, frame: padded, want: later, out: sent},
		{name: "second" + f.name, frame: in[1], want: later, out: out[1]},
	}
}

// fragmentKeys are later fragments that differ from a known packet's in one thing.
func fragmentKeys(eth packet.Ethernet, f fixFamily) []fixture {
	id := numbered(&f.in)
	cut := func(ip packet.IP, id uint32, proto uint8) [][]byte {
		return packet.Fragments(ip.Packet(eth, proto, segment(ip, proto, 4000, 81, somebody(99))), 48, id)
	}
	other := f.router(f.in)
	next := f.in
	next.ID = 0xfffe
	strange := f.key(id, packet.UDP)
	strange.Src = other.Src
	first, source, another := cut(f.in, id, packet.UDP), cut(other, id, packet.UDP), cut(next, 0xfffefffe, packet.UDP)
	list := []fixture{
		{name: "key" + f.name, frame: first[0], want: because(DropNoFlow)},
		{name: "same key" + f.name, frame: first[1], want: because(DropNoFlow)},
		{name: "other source" + f.name, frame: source[1], want: because(FragmentParked), punts: park(strange, source[1], eth)},
		{name: "other id" + f.name, frame: another[1], want: because(FragmentParked), punts: park(f.key(0xfffefffe, packet.UDP), another[1], eth)},
	}
	proto := cut(f.in, id, packet.TCP)
	if f.name == "6" { // which does not look at it
		return append(list, fixture{name: "other protocol6", frame: proto[1], want: because(DropNoFlow)})
	}
	return append(list, fixture{name: "other protocol4", frame: proto[1], want: because(FragmentParked), punts: park(f.key(id, packet.TCP), proto[1], eth)})
}

// fateFixtures are first fragments that do not reach a target, or not as they are,
// and the others, which share their fate.
func fateFixtures(eth packet.Ethernet) (list []fixture) {
	for _, f := range fixFamilies {
		for name, c := range map[string]struct {
			proto       uint8
			body        []byte
			first, then Verdict
		}{
			"no flow":   {packet.UDP, f.in.UDP(4000, 81, somebody(99)), because(DropNoFlow), because(DropNoFlow)},
			"no target": {packet.UDP, f.in.UDP(4000, 444, somebody(99)), matched(DropNoTarget, 444), matched(DropNoTarget, 444)},
			"protocol":  {47, somebody(99), because(DropProtocol), because(DropProtocol)},
			"malformed": {packet.TCP, somebody(16), because(DropMalformed), because(DropMalformed)},
			"nat":       {packet.SCTP, f.in.SCTP(4000, rulePort, somebody(99)), chosen(DropNAT, rulePort), chosen(FragmentForwarded, rulePort)},
		} {
			list = append(list, fate(eth, f, name, c.proto, c.body, c.first, c.then)...)
		}
		proto, redirect := f.in.ICMP(map[string]uint8{"4": 5, "6": 137}[f.name], 0, somebody(99))
		list = append(list, fate(eth, f, "icmp", proto, redirect, because(DropICMP), because(DropICMP))...)
		list = append(list, echoFragments(eth, f)...)
		list = append(list, errorFragments(eth, f)...)
		list = append(list, expiredFragments(eth, f)...)
		list = append(list, bigFragments(eth, f)...)
	}
	return list
}

func fate(eth packet.Ethernet, f fixFamily, name string, proto uint8, body []byte, first, then Verdict) []fixture {
	id := numbered(&f.in, &f.out)
	size := 48
	if len(body) < 20 { // too short to be cut there
		size = 8
	}
	in := packet.Fragments(f.in.Packet(eth, proto, body), size, id)
	out := packet.Fragments(f.out.Packet(toTarget, proto, body), size, id)
	later := fixture{name: name + ", later" + f.name, frame: in[1], want: then}
	if then.Reason == FragmentForwarded {
		later.out = out[1]
	}
	return []fixture{{name: name + f.name, frame: in[0], want: first}, later}
}

func echoFragments(eth packet.Ethernet, f fixFamily) (list []fixture) {
	back := packet.Ethernet{Dst: eth.Src, Src: extMAC, Tags: eth.Tags}
	id := numbered(&f.in, &f.reply)
	in := packet.Fragments(message(eth, f.in, f.request, 0, somebody(200)), 64, id)
	out := packet.Fragments(message(back, f.reply, f.answer, 0, somebody(200)), 64, id)
	for i := range in {
		list = append(list, fixture{name: "echo in fragments" + f.name, frame: in[i], want: because(EchoAnswered), out: out[i]})
	}
	return list
}

// errorFragments is an ICMP error that is a fragment: its key is that of its own
// addresses.
func errorFragments(eth packet.Ethernet, f fixFamily) []fixture {
	src, dst := f.router(f.in), f.router(f.out)
	id := numbered(&src, &dst)
	about := f.replied.Packet(packet.Ethernet{}, packet.UDP, f.replied.UDP(webPort, 4000, somebody(200)))
	in := packet.Fragments(quote(eth, src, f.unreachable, 0, about, 0), 96, id)
	out := packet.Fragments(quote(toTarget, dst, f.unreachable, 0, about, 0), 96, id)
	return []fixture{
		{name: "error in fragments" + f.name, frame: in[0], want: chosen(ICMPForwarded, webPort), out: out[0]},
		{name: "error in fragments, later" + f.name, frame: in[1], want: chosen(FragmentForwarded, webPort), out: out[1]},
	}
}

// expiredFragments has a first fragment whose TTL is used up: the others go on.
// Nobody is told of theirs.
func expiredFragments(eth packet.Ethernet, f fixFamily) []fixture {
	expired := f.in
	expired.TTL = 1
	id := numbered(&f.in, &f.out, &expired)
	cut := func(link packet.Ethernet, ip packet.IP) [][]byte {
		return packet.Fragments(ip.Packet(link, packet.UDP, f.in.UDP(4000, webPort, somebody(99))), 48, id)
	}
	last := cut(eth, expired)
	return []fixture{
		{name: "TTL, first" + f.name, frame: last[0], want: chosen(DropTTL, webPort), punts: event(slowpath.Event{Kind: slowpath.TimeExceeded}, last[0], l3(eth), 1500)},
		{name: "TTL, later" + f.name, frame: last[1], want: chosen(DropTTL, webPort)},
		{name: "after TTL" + f.name, frame: cut(eth, f.in)[1], want: chosen(FragmentForwarded, webPort), out: cut(toTarget, f.out)[1]},
	}
}

// bigFragments are fragments beyond the MTU of the leg.
func bigFragments(eth packet.Ethernet, f fixFamily) []fixture {
	id := numbered(&f.in, &f.out)
	in := packet.Fragments(f.in.Packet(eth, packet.UDP, f.in.UDP(4000, smallPort, somebody(3500))), 1304, id)
	first := fixture{
		name: "big first" + f.name, frame: in[0], want: chosen(DropTooBig, smallPort),
		punts: event(slowpath.Event{Kind: slowpath.TooBig, MTU: smallMTU}, in[0], l3(eth), 1500),
	}
	later := fixture{name: "big later" + f.name, frame: in[1], want: chosen(DropTooBig, smallPort)}
	if f.name == "4" {
		for _, fix := range []*fixture{&first, &later} {
			fix.want.Reason = Fragmented
			fix.punts = event(cutEvent(smallMTU, 3, 0), fix.frame, l3(eth), 1<<20)
		}
	}
	out := packet.Fragments(f.out.Packet(toSmall, packet.UDP, f.in.UDP(4000, smallPort, somebody(3500))), 1304, id)
	last := len(in) - 1
	return []fixture{first, later, {name: "small last" + f.name, frame: in[last], want: chosen(FragmentForwarded, smallPort), out: out[last]}}
}
