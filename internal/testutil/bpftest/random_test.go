// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/packet"
)

var mac = packet.MAC{2, 0, 0, 0, 0, 1}

// TestSetIsValid checks the sets, and for every VIP address of the pool that a
// target port stands for one outside port.
func TestSetIsValid(t *testing.T) {
	r := NewRandom(1, 1)
	translated := 0
	for range 40 {
		s := r.Set(100, 5)
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for i, rule := range s.Rules {
			if rule.Flow != uint32(i+1) {
				t.Errorf("rule %d has counter %d", i, rule.Flow)
			}
			if rule.TargetPort != 0 && (len(rule.DestinationPorts) != 1 || rule.DestinationPorts[0].First != rule.DestinationPorts[0].Last) {
				t.Errorf("%+v: not one port", rule)
			}
		}
		for range 50 {
			a := r.vip(r.pick(0.5))
			for _, proto := range []uint8{packet.TCP, packet.UDP, packet.SCTP} {
				outside := make(map[uint16]uint16)
				for _, x := range inForce(s, a, proto) {
					if o, ok := outside[x.target]; ok && o != x.outside {
						t.Fatalf("%s %d: target port %d stands for %d and %d", a, proto, x.target, o, x.outside)
					}
					outside[x.target] = x.outside
					translated++
				}
			}
		}
	}
	if translated < 1000 {
		t.Errorf("only %d translations", translated)
	}
}

func inForce(s classify.Set, a netip.Addr, proto uint8) (list []translation) {
	all := func(p netip.Prefix) bool { return p.Contains(a) }
	for _, n := range s.NATs {
		if all(n.VIP) && n.Protocol == proto {
			list = append(list, translation{outside: n.Port, target: n.TargetPort})
		}
	}
	for _, rule := range s.Rules {
		for _, p := range rule.VIPs {
			for _, other := range append([]uint8{}, rule.Protocols...) {
				if rule.TargetPort != 0 && all(p) && other == proto {
					list = append(list, translation{outside: rule.DestinationPorts[0].First, target: rule.TargetPort})
				}
			}
			if rule.TargetPort != 0 && all(p) && len(rule.Protocols) == 0 {
				list = append(list, translation{outside: rule.DestinationPorts[0].First, target: rule.TargetPort})
			}
		}
	}
	return list
}

// TestFramesCover checks that packets of every verdict come, in both directions,
// and in every form that is told apart.
func TestFramesCover(t *testing.T) {
	r := NewRandom(2, 2)
	seen, forms := make(map[string]int), make(map[string]int)
	for range 40 {
		w := r.World([]int{1, 10, 100}[r.IntN(3)], 6, 20, mac)
		w.VLAN = uint16(7 * r.IntN(2))
		for i := range 1000 {
			decide, reply, vlan := w.Decide, i%4 == 0, w.VLAN
			if reply {
				decide, vlan = w.Reply, 0
			}
			for _, frame := range r.Frames(r.Link(mac, vlan), reply) {
				if len(frame) < 14 || len(frame) > 3000 {
					t.Fatalf("a frame of %d bytes", len(frame))
				}
				d := decide(frame)
				seen[d.Verdict]++
				count(forms, frame, d)
			}
		}
	}
	t.Log(seen, forms)
	for _, v := range []string{
		model.Forwarded, model.FragmentForwarded, model.ICMPForwarded, model.ReplyForwarded, model.ARPAnswered,
		model.NDAnswered, model.EchoAnswered, model.FragmentParked, model.Fragmented, model.PassNotIP, model.PassVLAN,
		model.PassNotHost, model.PassARP, model.PassNotVIP, model.PassReply, model.Malformed, model.NoFlow, model.NoTarget,
		model.TTLExpired, model.TooBig, model.ICMP, model.Protocol, model.Extension, model.NAT, model.NoGateway,
	} {
		if seen[v] < 5 {
			t.Errorf("%d packets are %s", seen[v], v)
		}
	}
	for _, v := range []string{"AH", "AH4", "fragment after fragment", "later echo", "translated", "translated error", "clamped", "no UDP sum"} {
		if forms[v] < 5 {
			t.Errorf("%d packets are %s", forms[v], v)
		}
	}
}

// count says what is special about a packet that went on.
func count(forms map[string]int, frame []byte, d model.Decision) {
	p, err := packet.Parse(frame)
	if d.Frame == nil || err != nil || !p.Src.IsValid() {
		return
	}
	add := func(name string, is bool) {
		if is {
			forms[name]++
		}
	}
	out, _ := packet.Parse(d.Frame)
	add("AH", p.Src.Is6() && p.Next == packet.AH)
	add("AH4", p.Src.Is4() && p.Next == packet.AH && p.SrcPort != 0)
	add("fragment after fragment", d.Verdict == model.FragmentForwarded)
	add("later echo", d.Verdict == model.EchoAnswered && p.Fragment.Later())
	add("translated", p.SrcPort != out.SrcPort || p.DstPort != out.DstPort)
	add("no UDP sum", p.Proto == packet.UDP && p.DstPort != out.DstPort && out.L4Len > 8 && d.Frame[out.L4+6] == 0 && d.Frame[out.L4+7] == 0)
	if in, ok := packet.ParseQuote(frame[p.L4:p.L4+p.L4Len], p.Src.Is4()); ok && packet.ICMPError(p.Proto, p.Type) {
		changed, _ := packet.ParseQuote(d.Frame[out.L4:out.L4+out.L4Len], p.Src.Is4())
		add("translated error", in.SrcPort != changed.SrcPort || in.DstPort != changed.DstPort)
	}
	if p.Proto == packet.TCP && p.L4Len > 24 && !p.Fragment.Later() {
		options := func(frame []byte, l4 int) string { return string(frame[l4+20 : l4+24]) }
		add("clamped", options(frame, p.L4) != options(d.Frame, out.L4))
	}
}
