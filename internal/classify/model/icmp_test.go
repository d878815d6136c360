// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// kinds are the ICMP types that the tests use, by family.
var kinds = map[string]struct{ request, reply, unreachable, other uint8 }{
	"IPv4": {8, 0, 3, 13},
	"IPv6": {128, 129, 1, 130},
}

func icmp(eth packet.Ethernet, ip packet.IP, kind, code uint8, rest []byte) []byte {
	proto, b := ip.ICMP(kind, code, rest)
	return ip.Packet(eth, proto, b)
}

// TestEcho is the first part of step 7.
func TestEcho(t *testing.T) {
	for name, f := range families {
		w, kind := world(), kinds[name]
		data := []byte{0, 1, 0, 2, 'd', 'a', 't'}
		reply, expiring := f.reply, f.in
		reply.TTL, expiring.TTL = 64, 1
		answer := Decision{Verdict: EchoAnswered, Frame: icmp(back, reply, kind.reply, 0, data)}
		tagged, taggedBack := toUs, back
		tagged.Tags = []packet.Tag{{TCI: 5 << 13}}
		taggedBack.Tags = tagged.Tags
		exts, extsBack := f.in, reply
		exts.Extensions = []packet.Extension{packet.AuthHeader(4)}
		extsBack.Extensions = exts.Extensions
		steps := []step{
			{"echo", icmp(toUs, f.in, kind.request, 0, data), answer},
			{"TTL 1 is enough", icmp(toUs, expiring, kind.request, 0, data), answer},
			{"tag", icmp(tagged, f.in, kind.request, 0, data), Decision{Verdict: EchoAnswered, Frame: icmp(taggedBack, reply, kind.reply, 0, data)}},
			{"extension", icmp(toUs, exts, kind.request, 0, data), Decision{Verdict: EchoAnswered, Frame: icmp(back, extsBack, kind.reply, 0, data)}},
			{"padding", append(icmp(toUs, f.in, kind.request, 0, data), 0, 0), Decision{Verdict: EchoAnswered, Frame: append(icmp(back, reply, kind.reply, 0, data), 0, 0)}},
			{"code", icmp(toUs, f.in, kind.request, 1, data), Decision{Verdict: ICMP}},
			{"reply", icmp(toUs, f.in, kind.reply, 0, data), Decision{Verdict: ICMP}},
			{"other", icmp(toUs, f.in, kind.other, 0, data), Decision{Verdict: ICMP}},
			{"cut", icmp(toUs, f.in, kind.request, 0, data[:3]), Decision{Verdict: Malformed}},
		}
		t.Run(name, func(t *testing.T) {
			run(t, w.Decide, steps...)
			delete(w.Tables, 1)
			run(t, w.Decide, step{"a table", icmp(toUs, f.in, kind.request, 0, data), answer})
			clear(w.Tables)
			run(t, w.Decide, step{"no table", icmp(toUs, f.in, kind.request, 0, data), Decision{Verdict: NoTarget}})
			w.Tables[1] = []uint16{1}
			for i := range w.Set.Rules {
				w.Set.Rules[i].VIPs = []netip.Prefix{netip.MustParsePrefix("20.0.0.2/32")}
			}
			run(t, w.Decide, step{"table of another VIP", icmp(toUs, f.in, kind.request, 0, data), Decision{Verdict: NoTarget}})
		})
	}
}

// quoting is an error about a packet from quoted, cut to size bytes after the IP
// header (of 20 or 40 bytes).
func quoting(eth packet.Ethernet, ip packet.IP, kind uint8, quoted packet.IP, proto uint8, sport, dport uint16, size int) []byte {
	b := frame(packet.Ethernet{}, quoted, proto, sport, dport)[14:]
	if quoted.Src.Is4() {
		size += 20
	} else {
		size += 40
	}
	proto, message := ip.ICMPError(kind, 0, 1400, b[:min(size, len(b))])
	return ip.Packet(eth, proto, message)
}

// from is the packet with the router as source.
func from(ip packet.IP) packet.IP {
	if ip.Src = router4; ip.Dst.Is6() {
		ip.Src = router6
	}
	return ip
}

// TestICMPErrors is the second part of step 7.
func TestICMPErrors(t *testing.T) {
	for name, f := range families {
		w := world()
		in, out := from(f.in), from(f.out)
		types := map[string][]uint8{"IPv4": {3, 11, 12}, "IPv6": {1, 2, 3, 4}}[name]
		proto, kind := packet.TCP, types[0]
		quote := func(eth packet.Ethernet, ip, quoted packet.IP, sport uint16, size int) []byte {
			return quoting(eth, ip, kind, quoted, proto, sport, 4000, size)
		}
		about := func(what string, quoted packet.IP) step {
			return step{what, quote(toUs, in, quoted, 80, 999), web(ICMPForwarded, quote(toTarget, out, quoted, 80, 999))}
		}
		refused := func(what string, quoted packet.IP) step {
			return step{what, quote(toUs, in, quoted, 80, 999), Decision{Verdict: ICMP}}
		}
		exts := func(n int) packet.IP {
			ip := f.reply
			ip.Extensions = slices.Repeat([]packet.Extension{packet.AuthHeader(4)}, n)
			return ip
		}
		stranger := f.reply
		stranger.Src = in.Src
		expired := in
		expired.TTL = 1
		later := exts(0)
		later.Fragment = 5
		if name == "IPv6" {
			later.Extensions = []packet.Extension{packet.FragmentHeader(5, false, 1)}
		}
		t.Run(name, func(t *testing.T) {
			run(t, w.Decide,
				about("four extensions", exts(4)), refused("five extensions", exts(5)),
				refused("other source", stranger), refused("later fragment", later),
				step{"7 bytes", quote(toUs, in, f.reply, 80, 7), Decision{Verdict: ICMP}},
				step{"no flow", quote(toUs, in, f.reply, 81, 99), Decision{Verdict: NoFlow}},
				step{"no target", quote(toUs, in, f.reply, 445, 99), Decision{Verdict: NoTarget, Stream: 3, Flow: 14}},
				step{"TTL", quote(toUs, expired, f.reply, 80, 99), web(TTLExpired, nil)},
				step{"ICMP quoted", icmp(toUs, in, kind, 0, append(make([]byte, 4), icmp(toUs, f.reply, kinds[name].reply, 0, make([]byte, 9))[14:]...)), Decision{Verdict: ICMP}},
				step{"other version", icmp(toUs, in, kind, 0, append([]byte{0, 0, 0, 0, 0x50}, make([]byte, 90)...)), Decision{Verdict: ICMP}},
			)
			for _, kind = range types {
				for _, proto = range protocols {
					run(t, w.Decide, about("whole", f.reply),
						step{"8 bytes", quote(toUs, in, f.reply, 80, 8), web(ICMPForwarded, quote(toTarget, out, f.reply, 80, 8))})
				}
			}
		})
	}
}

// TestICMPErrorForms covers what only IPv4 quotes may be, and errors that do not
// fit the leg.
func TestICMPErrorForms(t *testing.T) {
	first, options := families["IPv4"].reply, families["IPv4"].reply
	first.Fragment, options.Options = packet.FragmentMF, make([]byte, 40)
	w := world()
	for _, quoted := range []packet.IP{first, options} {
		run(t, w.Decide, step{
			"IPv4", quoting(toUs, from(families["IPv4"].in), 3, quoted, packet.UDP, 80, 4000, 99),
			web(ICMPForwarded, quoting(toTarget, from(families["IPv4"].out), 3, quoted, packet.UDP, 80, 4000, 99)),
		})
	}
	// An error that does not fit is not answered by another, but as all else.
	w.Targets[1] = Target{MTU: 68}
	run(t, w.Decide,
		step{"IPv4 too big", quoting(toUs, from(families["IPv4"].in), 3, first, packet.UDP, 80, 4000, 99), web(Fragmented, nil)},
		step{"IPv6 too big", quoting(toUs, from(families["IPv6"].in), 2, families["IPv6"].reply, packet.UDP, 80, 4000, 99), web(TooBig, nil)},
	)
}

// TestICMPErrorFlow checks that an error is classified and balanced as packets
// of the client are.
func TestICMPErrorFlow(t *testing.T) {
	for name, f := range families {
		w := world()
		w.Targets[2] = Target{MAC: packet.MAC{2, 2}}
		w.Tables[1] = []uint16{1, 2, 1, 2, 2, 1, 2}
		ports := func(offset, width uint8, value uint32) []classify.ByteMatch {
			return []classify.ByteMatch{{Protocol: packet.UDP, Offset: offset, Width: width, Value: value}}
		}
		client := netip.PrefixFrom(f.in.Src, f.in.Src.BitLen())
		bytes := func(flow uint32, m []classify.ByteMatch) classify.Rule {
			return classify.Rule{
				Name: "bytes", Priority: 1, VIPs: w.Set.VIPs, Sources: []netip.Prefix{client}, Stream: 1, Flow: flow, ByteMatches: m,
			}
		}
		w.Set.Rules = append(w.Set.Rules, classify.Rule{})
		for port := range uint16(64) {
			for flow, m := range map[uint32][]classify.ByteMatch{
				21: ports(0, 4, uint32(port)<<16|80), 22: ports(2, 2, 80), 23: ports(3, 1, 80), // as the client sends it
			} {
				w.Set.Rules[len(w.Set.Rules)-1] = bytes(flow, m)
				direct := w.Decide(frame(toUs, f.in, packet.UDP, port, 80))
				got := w.Decide(quoting(toUs, from(f.in), kinds[name].unreachable, f.reply, packet.UDP, 80, port, 99))
				if got.Verdict != ICMPForwarded || got.Flow != flow || direct.Flow != flow || got.Slot != direct.Slot || got.Target != direct.Target {
					t.Errorf("%s: port %d: got %+v, the client's packets %+v", name, port, got, direct)
				}
			}
		}
		for _, m := range [][]classify.ByteMatch{ports(1, 4, 80<<8), ports(4, 2, 68), ports(0, 2, 80)} {
			w.Set.Rules[len(w.Set.Rules)-1] = bytes(21, m)
			if got := w.Decide(quoting(toUs, from(f.in), kinds[name].unreachable, f.reply, packet.UDP, 80, 0, 99)); got.Flow != 11 {
				t.Errorf("%s: %+v: got %+v", name, m, got)
			}
		}
	}
}
