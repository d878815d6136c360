// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

var (
	fixVIP4, fixVIP6 = netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")
	fixSrc4, fixSrc6 = netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")
	broadcast        = packet.MAC{255, 255, 255, 255, 255, 255}
	toUs             = packet.Ethernet{Dst: extMAC, Src: routerMAC}
	toTarget         = packet.Ethernet{Dst: targetMAC(1), Src: legMAC(1)}
)

func tagged(e packet.Ethernet, tags ...packet.Tag) packet.Ethernet {
	e.Tags = tags
	return e
}

// flow4 and flow6 are packets that match a rule; ttl is that of the frame.
func flow4(eth packet.Ethernet, proto, ttl uint8, options []byte) []byte {
	ip := packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: ttl, Options: options}
	return ip.Packet(eth, proto, l4(ip, proto, 80))
}

func flow6(eth packet.Ethernet, proto, ttl uint8, ext ...packet.Extension) []byte {
	ip := packet.IP{Src: fixSrc6, Dst: fixVIP6, TTL: ttl, Extensions: ext}
	return ip.Packet(eth, proto, l4(ip, proto, 80))
}

func l4(ip packet.IP, proto uint8, port uint16) []byte {
	switch proto {
	case packet.TCP:
		return ip.TCP(4000, port, 0x18, []byte("hello"))
	case packet.UDP:
		return ip.UDP(4000, port, []byte("hello"))
	case packet.SCTP:
		return ip.SCTP(4000, port, []byte("hello"))
	}
	return []byte("no transport that we know")
}

func patch(frame []byte, at int, b ...byte) []byte {
	copy(frame[at:], b)
	return frame
}

type fixture struct {
	name  string
	frame []byte
	want  Reason
	out   []byte // nil: dropped, or passed unchanged
}

func forwardFixtures() (list []fixture) {
	names := map[uint8]string{packet.TCP: "tcp", packet.UDP: "udp", packet.SCTP: "sctp"}
	for proto, name := range names {
		list = append(list,
			fixture{name + "4", flow4(toUs, proto, 64, nil), Forwarded, flow4(toTarget, proto, 63, nil)},
			fixture{name + "6", flow6(toUs, proto, 64), Forwarded, flow6(toTarget, proto, 63)})
	}
	option, routed := packet.Options(packet.DstOptions, 0), packet.RoutingHeader(0)
	atomic := packet.FragmentHeader(0, false, 7)
	nop := []byte{1, 1, 1, 1, 7, 4, 0, 0}
	short := packet.IP{Src: fixSrc4, Dst: fixVIP4}
	return append(list,
		fixture{"options4", flow4(toUs, packet.TCP, 64, nop), Forwarded, flow4(toTarget, packet.TCP, 63, nop)},
		fixture{"extensions6", flow6(toUs, packet.TCP, 64, option, routed), Forwarded, flow6(toTarget, packet.TCP, 63, option, routed)},
		fixture{"atomic fragment6", flow6(toUs, packet.UDP, 64, atomic), Forwarded, flow6(toTarget, packet.UDP, 63, atomic)},
		fixture{"priority tag", flow4(tagged(toUs, packet.Tag{TCI: 5 << 13}), packet.TCP, 64, nil), Forwarded, flow4(toTarget, packet.TCP, 63, nil)},
		fixture{"two priority tags", flow6(tagged(toUs, packet.Tag{Proto: packet.EtherQinQ}, packet.Tag{}), packet.UDP, 64), Forwarded, flow6(toTarget, packet.UDP, 63)},
		fixture{"ttl 2", flow4(toUs, packet.TCP, 2, nil), Forwarded, flow4(toTarget, packet.TCP, 1, nil)},
		fixture{"padding", append(short.Packet(toUs, packet.UDP, short.UDP(4000, 80, nil)), make([]byte, 18)...), Forwarded,
			append(packet.IP{Src: fixSrc4, Dst: fixVIP4, TTL: 63}.Packet(toTarget, packet.UDP, short.UDP(4000, 80, nil)), make([]byte, 18)...)},
	)
}

func dropFixtures() []fixture {
	nine := make([]packet.Extension, 9)
	for i := range nine {
		nine[i] = packet.Options(packet.DstOptions, 0)
	}
	to := func(ip packet.IP, proto uint8, port uint16) []byte {
		return ip.Packet(toUs, proto, l4(ip, proto, port))
	}
	ip4, ip6 := packet.IP{Src: fixSrc4, Dst: fixVIP4}, packet.IP{Src: fixSrc6, Dst: fixVIP6}
	echo, ping := ip4.ICMP(8, 0, make([]byte, 12))
	more := packet.IP{Src: fixSrc4, Dst: fixVIP4, Fragment: packet.FragmentMF}
	return []fixture{
		{"ttl 1", flow4(toUs, packet.TCP, 1, nil), DropTTL, nil},
		{"hop limit 1", flow6(toUs, packet.TCP, 1), DropTTL, nil},
		{"other port", to(ip4, packet.TCP, 81), DropNoFlow, nil},
		{"other source", to(packet.IP{Src: netip.MustParseAddr("10.1.0.1"), Dst: fixVIP4}, packet.TCP, 80), DropNoFlow, nil},
		{"stream without table", to(ip4, packet.TCP, 443), DropNoTarget, nil},
		{"slot without target", to(ip6, packet.TCP, 444), DropNoTarget, nil},
		{"deleted target", to(ip6, packet.TCP, 445), DropNoTarget, nil},
		{"first fragment4", to(more, packet.UDP, 80), DropFragment, nil},
		{"last fragment4", to(packet.IP{Src: fixSrc4, Dst: fixVIP4, Fragment: 100}, packet.UDP, 80), DropFragment, nil},
		{"fragment6", flow6(toUs, packet.UDP, 64, packet.FragmentHeader(0, true, 1)), DropFragment, nil},
		{"echo", ip4.Packet(toUs, echo, ping), DropICMP, nil},
		{"gre", to(ip4, 47, 0), DropProtocol, nil},
		{"no next header", to(ip6, packet.NoNext, 0), DropProtocol, nil},
		{"nine extensions", flow6(toUs, packet.TCP, 64, nine...), DropExtension, nil},
		{"long extensions", flow6(toUs, packet.TCP, 64, packet.Options(packet.HopByHop, 20)), DropExtension, nil},
		{"segments left", flow6(toUs, packet.TCP, 64, packet.RoutingHeader(1)), DropExtension, nil},
		{"short tcp", ip4.Packet(toUs, packet.TCP, make([]byte, 19)), DropMalformed, nil},
		{"short udp", ip6.Packet(toUs, packet.UDP, make([]byte, 7)), DropMalformed, nil},
		{"short sctp", ip4.Packet(toUs, packet.SCTP, make([]byte, 11)), DropMalformed, nil},
		{"ihl 4", patch(flow4(toUs, packet.TCP, 64, nil), 14, 0x44), DropMalformed, nil},
		{"version 5", patch(flow4(toUs, packet.TCP, 64, nil), 14, 0x55), DropMalformed, nil},
		{"total beyond frame", patch(flow4(toUs, packet.TCP, 64, nil), 16, 0x01), DropMalformed, nil},
		{"total below header", patch(flow4(toUs, packet.TCP, 64, nil), 16, 0, 19), DropMalformed, nil},
		{"payload beyond frame", patch(flow6(toUs, packet.TCP, 64), 18, 0x01), DropMalformed, nil},
		{"extension beyond payload", patch(flow6(toUs, packet.TCP, 64, packet.Options(packet.HopByHop, 0)), 55, 9), DropMalformed, nil},
		{"tag without type", tagged(toUs, packet.Tag{}).Frame(packet.EtherVLAN, []byte{0, 0}), DropMalformed, nil},
		{"header cut", tagged(toUs, packet.Tag{}).Frame(packet.EtherIPv4, make([]byte, 19)), DropMalformed, nil},
	}
}

func passFixtures() []fixture {
	ip4, ip6 := packet.IP{Src: fixSrc4, Dst: fixSrc4}, packet.IP{Src: fixSrc6, Dst: fixSrc6}
	group := packet.Ethernet{Dst: packet.MAC{1, 0, 0x5e, 0, 0, 1}, Src: routerMAC}
	other := packet.Ethernet{Dst: packet.MAC{2, 3, 3, 3, 3, 3}, Src: routerMAC}
	mapped := packet.IP{Src: fixSrc6, Dst: netip.MustParseAddr("::ffff:20.0.0.1")}
	return []fixture{
		{"no VIP4", ip4.Packet(toUs, packet.TCP, l4(ip4, packet.TCP, 179)), PassNotVIP, nil},
		{"no VIP6", ip6.Packet(toUs, packet.TCP, l4(ip6, packet.TCP, 179)), PassNotVIP, nil},
		{"VIP4 mapped to IPv6", mapped.Packet(toUs, packet.TCP, l4(mapped, packet.TCP, 80)), PassNotVIP, nil},
		{"no VIP, malformed", patch(ip4.Packet(toUs, packet.TCP, l4(ip4, packet.TCP, 179)), 16, 9), PassNotVIP, nil},
		{"lldp", toUs.Frame(0x88cc, make([]byte, 46)), PassNotIP, nil},
		{"other VLAN", flow4(tagged(toUs, packet.Tag{TCI: 7}), packet.TCP, 64, nil), PassVLAN, nil},
		{"other inner VLAN", flow4(tagged(toUs, packet.Tag{}, packet.Tag{TCI: 7}), packet.TCP, 64, nil), PassVLAN, nil},
		{"three tags", flow4(tagged(toUs, packet.Tag{}, packet.Tag{}, packet.Tag{}), packet.TCP, 64, nil), PassVLAN, nil},
		{"multicast frame", flow4(group, packet.TCP, 64, nil), PassNotHost, nil},
		{"frame for another host", flow6(other, packet.TCP, 64), PassNotHost, nil},
	}
}

// fixtureRules is what the fixtures meet: port 80 goes to target 1.
func fixtureRules(t *testing.T, l *LB) {
	vips := []netip.Prefix{netip.PrefixFrom(fixVIP4, 32), netip.PrefixFrom(fixVIP6, 128)}
	flow := func(name string, port uint16, stream uint32) classify.Rule {
		return classify.Rule{
			Name: name, VIPs: vips, Stream: stream,
			Sources:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("2001:db8::/32")},
			DestinationPorts: []classify.PortRange{{First: port, Last: port}},
		}
	}
	check(t, l.SetRules(Rules{VIPs: vips, Flows: []classify.Rule{
		flow("web", 80, 1), flow("no table", 443, 2), flow("no target", 444, 3), flow("deleted", 445, 4),
	}}))
	check(t, l.SetTable(1, []uint16{1}))
	check(t, l.SetTable(3, []uint16{0}))
	check(t, l.SetTable(4, []uint16{2}))
	for id := uint16(1); id <= 2; id++ {
		mac, leg := targetMAC(int(id)), legMAC(int(id))
		check(t, l.SetTarget(id, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
	}
	check(t, l.DeleteTarget(2))
}

func TestFixtures(t *testing.T) {
	l := newLB(t, Config{})
	fixtureRules(t, l)
	list := append(append(forwardFixtures(), dropFixtures()...), passFixtures()...)
	for _, f := range append(list, neighbourFixtures()...) {
		t.Run(f.name, func(t *testing.T) { f.run(t, l) })
	}
}

func (f fixture) run(t *testing.T, l *LB) {
	before, err := l.Counters()
	check(t, err)
	traffic, err := l.TargetTraffic(1)
	check(t, err)
	v, out, err := l.testIn(f.frame)
	check(t, err)
	if v.Reason != f.want {
		t.Fatalf("got %s, want %s", v.Reason, f.want)
	}
	want := f.out
	if want == nil {
		want = f.frame
	}
	if diff := cmp.Diff(want, out); diff != "" && !f.want.Drop() {
		t.Errorf("frame differs (-want +got):\n%s", diff)
	}
	after, err := l.Counters()
	check(t, err)
	before[f.want]++
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("counters differ (-want +got):\n%s", diff)
	}
	if f.want == Forwarded {
		traffic = Traffic{traffic.Packets + 1, traffic.Bytes + uint64(len(f.frame))}
	}
	got, err := l.TargetTraffic(1)
	check(t, err)
	if got != traffic {
		t.Errorf("target has %+v, want %+v", got, traffic)
	}
}
