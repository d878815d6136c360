// SPDX-License-Identifier: Apache-2.0

package model

import (
	"testing"

	"github.com/weft-project/weft/internal/packet"
)

// fragments cuts a packet into two or three.
func fragments(whole []byte) [][]byte { return packet.Fragments(whole, 32, 77) }

// TestFragments is step 5: later fragments share the fate of the first.
func TestFragments(t *testing.T) {
	for name, f := range families {
		w := world()
		f.in.ID, f.out.ID = 77, 77
		in := fragments(frame(toUs, f.in, packet.UDP, 4000, 80))
		out := fragments(frame(toTarget, f.out, packet.UDP, 4000, 80))
		later := Decision{Verdict: FragmentForwarded, Stream: 1, Flow: 11, Target: 1, Frame: out[1]}
		expiring := f.in
		expiring.TTL = 1
		short := fragments(frame(toUs, expiring, packet.UDP, 4000, 80))
		t.Run(name, func(t *testing.T) {
			w.SlowPath = false
			run(t, w.Decide, step{"refused", in[1], Decision{Verdict: Fragment}})
			w.SlowPath = true
			run(t, w.Decide,
				step{"unknown", in[1], Decision{Verdict: FragmentParked}},
				step{"first", in[0], web(Forwarded, out[0])},
				step{"second", in[1], later},
				step{"third", in[2], Decision{Verdict: FragmentForwarded, Stream: 1, Flow: 11, Target: 1, Frame: out[2]}},
				step{"TTL", short[1], Decision{Verdict: TTLExpired, Stream: 1, Flow: 11, Target: 1}},
			)
			w.Targets[1] = Target{MTU: 60}
			run(t, w.Decide, step{"MTU", in[1], map[string]Decision{
				"IPv4": {Verdict: FragmentForwarded, Stream: 1, Flow: 11, Target: 1, Frame: packet.Ethernet{}.Frame(packet.EtherIPv4, out[1][14:])},
				"IPv6": {Verdict: TooBig, Stream: 1, Flow: 11, Target: 1},
			}[name]})
			delete(w.Targets, 1)
			run(t, w.Decide, step{"deleted", in[1], Decision{Verdict: NoTarget, Stream: 1, Flow: 11}})
			w.Fragments = nil
			run(t, w.Decide, step{"no memory", in[0], Decision{Verdict: NoTarget, Stream: 1, Flow: 11}},
				step{"unknown", in[1], Decision{Verdict: FragmentParked}})
		})
	}
}

// TestFates is the second part of step 5.
func TestFates(t *testing.T) {
	for name, f := range families {
		f.in.ID = 77
		expiring, reply := f.in, f.reply
		expiring.TTL, reply.TTL, reply.ID = 1, 64, 77
		kind := kinds[name]
		echo := icmp(toUs, f.in, kind.request, 0, segment(f.in, 47, 0, 0))
		answer := fragments(icmp(back, reply, kind.reply, 0, segment(f.in, 47, 0, 0)))
		cut := f.in.Packet(toUs, packet.TCP, make([]byte, 40))
		to := func(ip packet.IP, port uint16) [][]byte { return fragments(frame(toUs, ip, packet.TCP, 4000, port)) }
		for _, c := range []struct {
			name         string
			frames       [][]byte
			first, later Decision
		}{
			{"no flow", to(f.in, 81), Decision{Verdict: NoFlow}, Decision{Verdict: NoFlow}},
			{"no target", to(f.in, 445), Decision{Verdict: NoTarget, Stream: 3, Flow: 14}, Decision{Verdict: NoTarget, Stream: 3, Flow: 14}},
			{"protocol", fragments(f.in.Packet(toUs, 47, make([]byte, 60))), Decision{Verdict: Protocol}, Decision{Verdict: Protocol}},
			{"ICMP", fragments(icmp(toUs, f.in, kind.other, 0, make([]byte, 60))), Decision{Verdict: ICMP}, Decision{Verdict: ICMP}},
			{"malformed", packet.Fragments(cut, 16, 77), Decision{Verdict: Malformed}, Decision{Verdict: Malformed}},
			{"TTL", to(expiring, 80), web(TTLExpired, nil), Decision{Verdict: TTLExpired, Stream: 1, Flow: 11, Target: 1}},
			{"echo", fragments(echo), Decision{Verdict: EchoAnswered, Frame: answer[0]}, Decision{Verdict: EchoAnswered, Frame: answer[1]}},
		} {
			w := world()
			run(t, w.Decide, step{name + " " + c.name, c.frames[0], c.first}, step{name + " " + c.name + ", later", c.frames[1], c.later})
		}
		w := world()
		first := to(f.in, 80)[0]
		w.Targets[1] = Target{MTU: 50}
		want := web(TooBig, nil)
		if name == "IPv4" {
			want = web(Fragmented, nil)
		}
		run(t, w.Decide, step{name + " first too big", first, want})
		if got := w.Fragments[FragmentKey{Src: f.in.Src, Dst: f.in.Dst, ID: 77, Proto: map[string]uint8{"IPv4": packet.TCP}[name]}]; got != (Fate{Stream: 1, Flow: 11, Target: 1}) {
			t.Errorf("%s: remembered %+v", name, w.Fragments)
		}
	}
	// The walk may end after the fragment header.
	ip := families["IPv6"].in
	ip.Extensions = []packet.Extension{packet.FragmentHeader(0, true, 77), packet.RoutingHeader(1)}
	rest := ip
	rest.Extensions = []packet.Extension{packet.FragmentHeader(4, false, 77)}
	w := world()
	run(t, w.Decide,
		step{"segments left", frame(toUs, ip, packet.TCP, 4000, 80), Decision{Verdict: Extension}},
		step{"later", frame(toUs, rest, packet.TCP, 4000, 80), Decision{Verdict: Extension}},
	)
}

// TestFragmentKeys changes one part of the key at a time.
func TestFragmentKeys(t *testing.T) {
	w := world()
	v4, v6 := families["IPv4"].in, families["IPv6"].in
	v4.ID, v4.Fragment = 77, packet.FragmentMF
	v6.Extensions = []packet.Extension{packet.FragmentHeader(0, true, 1<<16|77)}
	run(t, w.Decide,
		step{"IPv4", frame(toUs, v4, packet.UDP, 1, 81), Decision{Verdict: NoFlow}},
		step{"IPv6", frame(toUs, v6, packet.UDP, 1, 81), Decision{Verdict: NoFlow}},
	)
	auth := families["IPv4"].in
	auth.ID, auth.Extensions = 79, []packet.Extension{packet.AuthHeader(4)}
	cut := fragments(frame(toUs, auth, packet.UDP, 1, 81))
	run(t, w.Decide,
		step{"AH", cut[0], Decision{Verdict: NoFlow}},
		step{"AH later", cut[1], Decision{Verdict: NoFlow}},
	)
	later := func(ip packet.IP, id uint32, proto uint8) []byte {
		ip.ID, ip.Fragment = uint16(id), 3
		ip.Extensions = nil
		if ip.Src.Is6() {
			ip.Extensions = []packet.Extension{packet.FragmentHeader(3, false, id)}
		}
		return ip.Packet(toUs, proto, make([]byte, 8))
	}
	known, unknown := Decision{Verdict: NoFlow}, Decision{Verdict: FragmentParked}
	run(t, w.Decide,
		step{"IPv4 same", later(v4, 77, packet.UDP), known},
		step{"IPv4 id", later(v4, 78, packet.UDP), unknown},
		step{"IPv4 protocol", later(v4, 77, packet.TCP), unknown},
		step{"IPv4 source", later(from(v4), 77, packet.UDP), unknown},
		step{"IPv6 same", later(v6, 1<<16|77, packet.UDP), known},
		step{"IPv6 id", later(v6, 77, packet.UDP), unknown},
		step{"IPv6 protocol", later(v6, 1<<16|77, packet.TCP), known},
		step{"IPv6 source", later(from(v6), 1<<16|77, packet.UDP), unknown},
	)
}
