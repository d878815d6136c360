// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// TestPorts is step 11. What the builder makes has right checksums, so this also
// checks that those of translated packets are.
func TestPorts(t *testing.T) {
	for name, f := range families {
		for protoName, proto := range protocols {
			w := world()
			rule := func(verdict string, frame []byte) Decision {
				return Decision{Verdict: verdict, Stream: 1, Flow: 12, Target: 1, Frame: frame}
			}
			in, out, kind := from(f.in), from(f.out), kinds[name].unreachable
			steps := []step{
				{"rule", frame(toUs, f.in, proto, 4000, 443), rule(Forwarded, frame(toTarget, f.out, proto, 4000, 8443))},
				{"NAT", frame(toUs, f.in, proto, 4000, 90), web(Forwarded, frame(toTarget, f.out, proto, 4000, 9090))},
				{"neither", frame(toUs, f.in, proto, 4000, 80), web(Forwarded, frame(toTarget, f.out, proto, 4000, 80))},
				{"target port", frame(toUs, f.in, proto, 4000, 9090), Decision{Verdict: NoFlow}},
			}
			for _, size := range []int{8, 17, 18, 99} {
				if proto == packet.SCTP && size > 11 { // the quoted checksum stays: it would differ
					continue
				}
				want := quoting(toTarget, out, kind, f.reply, proto, 8443, 4000, size)
				if proto == packet.UDP || proto == packet.TCP && size >= 18 || size < 16 {
					steps = append(steps, step{"error", quoting(toUs, in, kind, f.reply, proto, 443, 4000, size), rule(ICMPForwarded, want)})
				}
			}
			t.Run(name+" "+protoName, func(t *testing.T) { run(t, w.Decide, steps...) })
		}
	}
}

// TestWrongChecksums checks that what was wrong stays wrong, by as much.
func TestWrongChecksums(t *testing.T) {
	for name, f := range families {
		at := map[string]int{"IPv4": 34, "IPv6": 54}[name]
		wrong := func(frame []byte, offset, size int) []byte {
			for i := range size {
				frame[at+offset+i] ^= 0x5a
			}
			return frame
		}
		w := world()
		// The CRC is linear.
		run(t, w.Decide, step{
			name + " SCTP", wrong(frame(toUs, f.in, packet.SCTP, 4000, 90), 8, 4),
			web(Forwarded, wrong(frame(toTarget, f.out, packet.SCTP, 4000, 9090), 8, 4)),
		})
		// The Internet checksum is a sum modulo 65535.
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			offset := map[uint8]int{packet.TCP: 16, packet.UDP: 6}[proto]
			sum := func(frame []byte) int { return int(word(frame, at+offset)) }
			before, right := frame(toUs, f.in, proto, 4000, 90), frame(toTarget, f.out, proto, 4000, 9090)
			diff := sum(right) - sum(before)
			got := w.Decide(wrong(before, offset, 2)).Frame
			if (sum(got)-sum(before)-diff)%65535 != 0 || sum(got) == sum(right) {
				t.Errorf("%s %d: got %x", name, proto, sum(got))
			}
		}
	}
}

// TestUDPZero covers what 0 means in UDP.
func TestUDPZero(t *testing.T) {
	for name, f := range families {
		w := world()
		at := map[string]int{"IPv4": 34, "IPv6": 54}[name] + 6
		none := func(eth packet.Ethernet, ip packet.IP, port uint16) []byte {
			return patch(frame(eth, ip, packet.UDP, 4000, port), at, 0, 0)
		}
		run(t, w.Decide, step{name + " stays 0", none(toUs, f.in, 90), web(Forwarded, none(toTarget, f.out, 9090))})
		w.Set.MTU = 0
		run(t, func(frame []byte) Decision { d := w.Reply(frame); d.Gateway = netip.Addr{}; return d },
			step{name + " reply", none(toUs, f.reply, 1), Decision{Verdict: ReplyForwarded, Frame: none(toUs, aged(f.reply), 1)}})
		// A payload whose sum is 0 with the target's port.
		data := []byte{0, 0}
		zero := f.out.UDP(4000, 9090, data)
		data[0], data[1] = zero[6], zero[7]
		before, after := f.in.UDP(4000, 90, data), f.out.UDP(4000, 9090, data)
		if after[6] != 0xff || after[7] != 0xff {
			t.Fatalf("%s: checksum is %x", name, after[6:8])
		}
		run(t, w.Decide, step{name + " becomes ffff", f.in.Packet(toUs, packet.UDP, before), web(Forwarded, f.out.Packet(toTarget, packet.UDP, after))})
		// The same in a quote.
		kind := kinds[name].unreachable
		quote := func(eth packet.Ethernet, ip packet.IP, port uint16, sum ...byte) []byte {
			b := frame(packet.Ethernet{}, f.reply, packet.UDP, port, 4000)[14:]
			copy(b[at-14:], sum)
			proto, message := ip.ICMPError(kind, 0, 0, b)
			return ip.Packet(eth, proto, message)
		}
		run(t, w.Decide, step{name + " quoted 0", quote(toUs, from(f.in), 90, 0, 0), web(ICMPForwarded, quote(toTarget, from(f.out), 9090, 0, 0))})
	}
}

// TestQuotedSums covers quotes that end within the checksum, and SCTP's.
func TestQuotedSums(t *testing.T) {
	for name, f := range families {
		at := map[string]int{"IPv4": 20, "IPv6": 40}[name]
		kind, w := kinds[name].unreachable, world()
		for proto, size := range map[uint8]int{packet.TCP: 17, packet.SCTP: 99} {
			quote := func(eth packet.Ethernet, ip packet.IP, port uint16) []byte {
				b := frame(packet.Ethernet{}, f.reply, proto, 90, 4000)[14:]
				b = patch(b[:min(at+size, len(b))], at, byte(port>>8), byte(port))
				proto, message := ip.ICMPError(kind, 0, 0, b)
				return ip.Packet(eth, proto, message)
			}
			run(t, w.Decide, step{name, quote(toUs, from(f.in), 90), web(ICMPForwarded, quote(toTarget, from(f.out), 9090))})
		}
	}
}

// TestSCTPFragment covers the first fragment of SCTP, whose checksum is over
// what is not there.
func TestSCTPFragment(t *testing.T) {
	for name, f := range families {
		w := world()
		f.in.ID, f.out.ID = 77, 77
		in, out := fragments(frame(toUs, f.in, packet.SCTP, 4000, 90)), fragments(frame(toTarget, f.out, packet.SCTP, 4000, 90))
		plain := fragments(frame(toUs, f.in, packet.SCTP, 4000, 80))[0]
		plainOut := fragments(frame(toTarget, f.out, packet.SCTP, 4000, 80))[0]
		run(t, w.Decide,
			step{name + " first", in[0], web(NAT, nil)},
			step{name + " later", in[1], Decision{Verdict: FragmentForwarded, Stream: 1, Flow: 11, Target: 1, Frame: out[1]}},
			step{name + " not translated", plain, web(Forwarded, plainOut)},
		)
		for i := range w.Set.NATs {
			w.Set.NATs[i].TargetPort = 90
		}
		run(t, w.Decide, step{name + " to the same port", in[0], web(Forwarded, out[0])})
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			w := world()
			in, out := fragments(frame(toUs, f.in, proto, 4000, 90)), fragments(frame(toTarget, f.out, proto, 4000, 9090))
			run(t, w.Decide, step{name, in[0], web(Forwarded, out[0])})
		}
		w = world()
		f.reply.ID = 77
		run(t, w.Reply,
			step{name + " reply", fragments(frame(toUs, f.reply, packet.SCTP, 9090, 4000))[0], Decision{Verdict: NAT}},
		)
	}
}

// TestNests covers prefixes within others.
func TestNests(t *testing.T) {
	prefix := netip.MustParsePrefix
	w := World{Set: classify.Set{
		VIPs: []netip.Prefix{prefix("20.0.0.0/24"), prefix("20.0.0.0/28"), prefix("20.0.0.1/32")},
		NATs: []classify.NAT{
			{VIP: prefix("20.0.0.0/24"), Protocol: packet.TCP, Port: 80, TargetPort: 8080},
			{VIP: prefix("20.0.0.0/24"), Protocol: packet.TCP, Port: 443, TargetPort: 8443},
			{VIP: prefix("20.0.0.1/32"), Protocol: packet.TCP, Port: 80, TargetPort: 9090},
			{VIP: prefix("20.0.0.0/28"), Protocol: packet.TCP, Port: 81, TargetPort: 8081},
		},
		Rules: []classify.Rule{{
			Name: "r", VIPs: []netip.Prefix{prefix("20.0.0.0/28")}, Protocols: []uint8{packet.TCP},
			DestinationPorts: []classify.PortRange{{First: 80, Last: 80}}, TargetPort: 7070,
		}},
	}}
	for _, c := range []struct {
		vip              string
		proto            uint8
		outside, target  uint16
		onlyIn, onlyBack bool
	}{
		{"20.0.0.1", packet.TCP, 80, 9090, false, false},
		{"20.0.0.1", packet.TCP, 8080, 8080, false, false}, // its own NAT of port 80 wins both ways
		{"20.0.0.1", packet.TCP, 81, 8081, false, false},
		{"20.0.0.1", packet.TCP, 443, 8443, false, false},
		{"20.0.0.1", packet.TCP, 80, 7070, false, true}, // of the rule
		{"20.0.0.2", packet.TCP, 80, 8080, false, false},
		{"20.0.0.2", packet.TCP, 80, 7070, false, true},
		{"20.0.0.99", packet.TCP, 80, 8080, false, false},
		{"20.0.0.99", packet.TCP, 81, 81, false, false},
		{"20.0.0.99", packet.TCP, 7070, 7070, false, true}, // the rule is not of this VIP
		{"20.0.0.1", packet.UDP, 80, 80, true, false},
		{"20.0.0.1", packet.UDP, 7070, 7070, false, true}, // nor of this protocol
	} {
		vip := netip.MustParseAddr(c.vip)
		f := flow{src: client4, dst: vip, proto: c.proto, dport: c.outside}
		if got := w.targetPort(&classify.Rule{}, f); got != c.target && !c.onlyBack {
			t.Errorf("%+v: got target port %d", c, got)
		}
		if got := w.outsidePort(vip, c.proto, c.target); got != c.outside && !c.onlyIn {
			t.Errorf("%+v: got outside port %d", c, got)
		}
	}
	f := flow{src: client4, dst: netip.MustParseAddr("20.0.0.1"), proto: packet.TCP, dport: 80}
	if got := w.targetPort(&w.Set.Rules[0], f); got != 7070 {
		t.Errorf("got %d, the rule's target port comes before NATs", got)
	}
}
