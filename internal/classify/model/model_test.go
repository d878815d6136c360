// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

// TestLink is step 1 and 2: frames that do not concern the load balancer.
func TestLink(t *testing.T) {
	w := world()
	ip := families["IPv4"].in
	good := frame(toUs, ip, packet.TCP, 4000, 80)
	other := packet.Ethernet{Dst: packet.MAC{2, 3, 3, 3, 3, 3}, Src: toUs.Src}
	tagged := toUs
	tagged.Tags = []packet.Tag{{TCI: 7}}
	foreign := packet.IP{Src: client4, Dst: client4}
	arp := packet.ARP{Op: packet.ARPRequest, SenderMAC: toUs.Src, SenderIP: client4, TargetIP: vip4}
	answer := packet.ARP{Op: packet.ARPReply, SenderMAC: toUs.Dst, SenderIP: vip4, TargetMAC: toUs.Src, TargetIP: client4}
	nd := packet.ND{Type: packet.NDSolicitation, Target: vip6}
	advertisement := packet.ND{
		Type: packet.NDAdvertisement, Flags: packet.NDOverride | packet.NDSolicited, Target: vip6,
		Options: []packet.NDOption{{Type: packet.NDTargetMAC, Data: toUs.Dst}},
	}
	solicit := nd.Frame(toUs, packet.IP{Src: client6, Dst: vip6})
	pass := func(name, verdict string, frame []byte) step {
		return step{name, frame, Decision{Verdict: verdict, Frame: frame}}
	}
	run(t, w.Decide,
		pass("lldp", PassNotIP, toUs.Frame(0x88cc, make([]byte, 46))),
		pass("VLAN", PassVLAN, frame(tagged, ip, packet.TCP, 4000, 80)),
		pass("other MAC", PassNotHost, frame(other, ip, packet.TCP, 4000, 80)),
		pass("no VIP", PassNotVIP, frame(toUs, foreign, packet.TCP, 4000, 80)),
		pass("no VIP, malformed", PassNotVIP, patch(frame(toUs, foreign, packet.TCP, 4000, 80), 16, 9)),
		pass("ARP reply", PassARP, answer.Frame(toUs)),
		step{"ARP", arp.Frame(toUs), Decision{Verdict: ARPAnswered, Frame: answer.Frame(back)}},
		step{"ND", solicit, Decision{Verdict: NDAnswered, Frame: advertisement.Frame(back, packet.IP{Src: vip6, Dst: client6})}},
		step{"cut link", good[:13], Decision{Verdict: Malformed}},
		step{"cut IP", good[:33], Decision{Verdict: Malformed}},
	)
	w.VLAN = 7
	out := families["IPv4"].out
	run(t, w.Decide, step{"our VLAN", frame(tagged, ip, packet.TCP, 4000, 80), web(Forwarded, frame(toTarget, out, packet.TCP, 4000, 80))})
}

// TestHeaders is step 3, 4 and 6.
func TestHeaders(t *testing.T) {
	w := world()
	for name, f := range families {
		good := frame(toUs, f.in, packet.TCP, 4000, 80)
		with := func(ip packet.IP, e ...packet.Extension) packet.IP {
			ip.Extensions = e
			return ip
		}
		forwarded := func(what string, e ...packet.Extension) step {
			return step{
				what, frame(toUs, with(f.in, e...), packet.TCP, 4000, 80),
				web(Forwarded, frame(toTarget, with(f.out, e...), packet.TCP, 4000, 80)),
			}
		}
		dropped := func(what, verdict string, frame []byte) step { return step{what, frame, Decision{Verdict: verdict}} }
		steps := []step{
			forwarded("plain"),
			forwarded("AH", packet.AuthHeader(4)),
			forwarded("eight AH of 1028 bytes", slices.Repeat([]packet.Extension{packet.AuthHeader(255)}, 8)...),
			dropped("nine AH", Extension, frame(toUs, with(f.in, slices.Repeat([]packet.Extension{packet.AuthHeader(4)}, 9)...), packet.TCP, 4000, 80)),
			dropped("cut AH", Malformed, f.in.Packet(toUs, packet.AH, []byte{packet.TCP, 1, 0, 0, 0, 0, 0, 0, 0})),
			dropped("version", Malformed, patch(good, 14, good[14]^0x10)),
			dropped("length", Malformed, good[:len(good)-1]),
			dropped("GRE", Protocol, f.in.Packet(toUs, 47, nil)),
			{"padding", append(good, 0, 0, 0), web(Forwarded, append(frame(toTarget, f.out, packet.TCP, 4000, 80), 0, 0, 0))},
		}
		for proto, size := range map[uint8]int{packet.TCP: 20, packet.UDP: 8, packet.SCTP: 12} {
			b := segment(f.in, proto, 4000, 80)
			steps = append(steps, dropped(fmt.Sprint("cut protocol ", proto), Malformed, f.in.Packet(toUs, proto, b[:size-1])))
			steps = append(steps, step{fmt.Sprint("whole protocol ", proto), f.in.Packet(toUs, proto, b[:size]), web(Forwarded, f.out.Packet(toTarget, proto, b[:size]))})
		}
		t.Run(name, func(t *testing.T) { run(t, w.Decide, steps...) })
	}
	v4, v6 := families["IPv4"], families["IPv6"]
	options, aged := v4.in, v4.out
	options.Options = []byte{7, 7, 4, 0, 0, 0, 0, 0}
	aged.Options = options.Options
	exts, agedExts := v6.in, v6.out
	exts.Extensions = []packet.Extension{
		packet.Options(packet.HopByHop, 255), packet.RoutingHeader(0), packet.FragmentHeader(0, false, 5), packet.AuthHeader(4),
		packet.Options(packet.DstOptions, 3), packet.Options(packet.HopByHop, 0), packet.RoutingHeader(0), packet.Options(packet.DstOptions, 0),
	}
	agedExts.Extensions = exts.Extensions
	nine, left := exts, exts
	nine.Extensions = append(slices.Clone(exts.Extensions), packet.AuthHeader(4))
	left.Extensions = []packet.Extension{packet.RoutingHeader(1)}
	run(t, w.Decide,
		step{"IPv4 options", frame(toUs, options, packet.UDP, 4000, 80), web(Forwarded, frame(toTarget, aged, packet.UDP, 4000, 80))},
		step{"IPv4 header length", patch(frame(toUs, v4.in, packet.UDP, 4000, 80), 14, 0x44), Decision{Verdict: Malformed}},
		step{"IPv4 total below header", patch(frame(toUs, v4.in, packet.UDP, 4000, 80), 16, 0, 19), Decision{Verdict: Malformed}},
		step{"hop-by-hop in IPv4", v4.in.Packet(toUs, packet.HopByHop, make([]byte, 40)), Decision{Verdict: Protocol}},
		step{"ICMPv6 in IPv4", v4.in.Packet(toUs, packet.ICMPv6, make([]byte, 40)), Decision{Verdict: Protocol}},
		step{"ICMP in IPv6", v6.in.Packet(toUs, packet.ICMP, make([]byte, 40)), Decision{Verdict: Protocol}},
		step{"no next header", v6.in.Packet(toUs, packet.NoNext, nil), Decision{Verdict: Protocol}},
		step{"eight headers", frame(toUs, exts, packet.TCP, 4000, 80), web(Forwarded, frame(toTarget, agedExts, packet.TCP, 4000, 80))},
		step{"nine headers", frame(toUs, nine, packet.TCP, 4000, 80), Decision{Verdict: Extension}},
		step{"segments left", frame(toUs, left, packet.TCP, 4000, 80), Decision{Verdict: Extension}},
		step{"cut header", v6.in.Packet(toUs, packet.DstOptions, append([]byte{packet.UDP, 1}, make([]byte, 13)...)), Decision{Verdict: Malformed}},
	)
}

// TestClassify is step 8.
func TestClassify(t *testing.T) {
	w := world()
	for name, f := range families {
		for protoName, proto := range protocols {
			to := func(port uint16) []byte { return frame(toUs, f.in, proto, 4000, port) }
			t.Run(name+" "+protoName, func(t *testing.T) {
				run(t, w.Decide,
					step{"web", to(80), web(Forwarded, frame(toTarget, f.out, proto, 4000, 80))},
					step{"no flow", to(81), Decision{Verdict: NoFlow}},
					step{"no table", to(444), Decision{Verdict: NoTarget, Stream: 2, Flow: 13}},
					step{"no target", to(445), Decision{Verdict: NoTarget, Stream: 3, Flow: 14}},
					step{"unknown target", to(446), Decision{Verdict: NoTarget, Stream: 4, Flow: 15}},
				)
			})
		}
	}
	// Slots by the hash of the flow.
	f := families["IPv6"]
	w.Tables[1] = []uint16{1, 1, 1, 1, 1}
	want := web(Forwarded, frame(toTarget, f.out, packet.UDP, 4000, 80))
	want.Slot = packet.HashPick(packet.FlowHash(client6, vip6, packet.UDP, 4000, 80), 5)
	run(t, w.Decide, step{"slot", frame(toUs, f.in, packet.UDP, 4000, 80), want})
}

// TestRules is the meaning of rules, by which of them wins (by flow number).
func TestRules(t *testing.T) {
	vips := []netip.Prefix{netip.MustParsePrefix("20.0.0.0/24")}
	base := classify.Rule{Name: "m", VIPs: vips, Flow: 1}
	header := segment(packet.IP{Src: client4, Dst: vip4}, packet.UDP, 4000, 80)[:12]
	f := flow{src: client4, dst: vip4, proto: packet.UDP, sport: 4000, dport: 80, header: header}
	match := func(proto, offset, width uint8, mask, value uint32) []classify.ByteMatch {
		return []classify.ByteMatch{{Protocol: proto, Offset: offset, Width: width, Mask: mask, Value: value}}
	}
	for name, c := range map[string]struct {
		change func(*classify.Rule)
		wins   bool
	}{
		"priority":           {func(r *classify.Rule) { r.Priority, r.Name = 1, "z" }, true},
		"lower priority":     {func(r *classify.Rule) { r.Priority, r.Name = -1, "a" }, false},
		"name":               {func(r *classify.Rule) { r.Name = "a" }, true},
		"later name":         {func(r *classify.Rule) { r.Name = "z" }, false},
		"other VIP":          {func(r *classify.Rule) { r.VIPs = []netip.Prefix{netip.MustParsePrefix("20.0.0.2/32")} }, false},
		"VIP":                {func(r *classify.Rule) { r.VIPs = []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32")} }, true},
		"source":             {func(r *classify.Rule) { r.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")} }, true},
		"other source":       {func(r *classify.Rule) { r.Sources = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")} }, false},
		"source port":        {func(r *classify.Rule) { r.SourcePorts = []classify.PortRange{{First: 1, Last: 4000}} }, true},
		"other source port":  {func(r *classify.Rule) { r.SourcePorts = []classify.PortRange{{First: 4001, Last: 9999}} }, false},
		"port":               {func(r *classify.Rule) { r.DestinationPorts = []classify.PortRange{{First: 80, Last: 81}} }, true},
		"other port":         {func(r *classify.Rule) { r.DestinationPorts = []classify.PortRange{{First: 1, Last: 79}} }, false},
		"protocol":           {func(r *classify.Rule) { r.Protocols = []uint8{packet.TCP, packet.UDP} }, true},
		"other protocol":     {func(r *classify.Rule) { r.Protocols = []uint8{packet.TCP, packet.SCTP} }, false},
		"bytes":              {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 0, 4, 0, 4000<<16|80) }, true},
		"masked bytes":       {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 3, 1, 0xf0, 0x50) }, true},
		"other bytes":        {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 2, 2, 0, 81) }, false},
		"bytes of TCP":       {func(r *classify.Rule) { r.ByteMatches = match(packet.TCP, 2, 2, 0, 81) }, true},
		"last bytes":         {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 8, 4, 0x80000000, 0) }, true},
		"bytes reach beyond": {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 9, 4, 0x80000000, 0) }, false},
		"bytes far beyond":   {func(r *classify.Rule) { r.ByteMatches = match(packet.UDP, 60, 1, 1, 0) }, false},
		"one of two contrasts": {func(r *classify.Rule) {
			r.ByteMatches = append(match(packet.UDP, 3, 1, 0, 80), match(packet.UDP, 3, 1, 0, 81)...)
		}, false},
	} {
		r := base
		r.Name, r.Priority, r.Flow = "a", 0, 2
		c.change(&r)
		got := World{Set: classify.Set{VIPs: vips, Rules: []classify.Rule{base, r}}}.rule(f)
		if got == nil || (got.Flow == 2) != c.wins {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestLimits is step 9 and 10.
func TestLimits(t *testing.T) {
	for name, f := range families {
		w := world()
		whole := frame(toUs, f.in, packet.UDP, 4000, 80)
		length := uint16(len(whole) - 14)
		forwarded := web(Forwarded, frame(toTarget, f.out, packet.UDP, 4000, 80))
		expired := f.in
		expired.TTL = 1
		zero := frame(toUs, expired, packet.UDP, 4000, 80)
		zero[map[string]int{"IPv4": 22, "IPv6": 21}[name]] = 0
		last, lastOut := f.in, f.out
		last.TTL, lastOut.TTL = 2, 1
		limit := func(mtu uint16) {
			target := w.Targets[1]
			target.MTU = mtu
			w.Targets[1] = target
		}
		run(t, w.Decide,
			step{name + " TTL 1", frame(toUs, expired, packet.UDP, 4000, 80), web(TTLExpired, nil)},
			step{name + " TTL 0", zero, web(TTLExpired, nil)},
			step{name + " TTL 2", frame(toUs, last, packet.UDP, 4000, 80), web(Forwarded, frame(toTarget, lastOut, packet.UDP, 4000, 80))},
		)
		limit(length)
		run(t, w.Decide, step{name + " fits", append(whole, 0, 0), web(Forwarded, append(slices.Clone(forwarded.Frame), 0, 0))})
		limit(length - 1)
		run(t, w.Decide, step{name + " TTL goes first", frame(toUs, expired, packet.UDP, 4000, 80), web(TTLExpired, nil)})
		if name == "IPv6" {
			run(t, w.Decide, step{name + " too big", whole, web(TooBig, nil)})
			continue
		}
		df := f.in
		df.Fragment = packet.FragmentDF
		run(t, w.Decide,
			step{"DF", frame(toUs, df, packet.UDP, 4000, 80), web(TooBig, nil)},
			step{"no DF", whole, web(Fragmented, nil)},
		)
		w.SlowPath = false
		run(t, w.Decide, step{"nobody to cut it", whole, web(TooBig, nil)})
	}
}
