// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

var (
	vip4, vip6     = netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")
	block          = netip.MustParsePrefix("20.0.0.0/28")
	client, other6 = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")
	extMAC         = packet.MAC{2, 0, 0, 0, 0, 1}
	toUs           = packet.Ethernet{Dst: extMAC, Src: packet.MAC{2, 0, 0, 0, 0, 2}}
)

// testGround has every kind of field and translation.
func testGround() ground {
	vips := []netip.Prefix{netip.PrefixFrom(vip4, 32), netip.PrefixFrom(vip6, 128)}
	one := func(p uint16) []classify.PortRange { return []classify.PortRange{{First: p, Last: p}} }
	flow := func(stream string, r classify.Rule) balancer.Flow {
		if r.VIPs == nil {
			r.VIPs = vips
		}
		return balancer.Flow{Stream: stream, Rule: r}
	}
	return ground{
		mac: extMAC,
		config: &balancer.Config{
			VIPs: append([]netip.Prefix{block}, vips...),
			NATs: []classify.NAT{
				{VIP: block, Protocol: classify.TCP, Port: 443, TargetPort: 8443},
				{VIP: vips[0], Protocol: classify.TCP, Port: 443, TargetPort: 9443},
				{VIP: block, Protocol: classify.UDP, Port: 53, TargetPort: 5353},
			},
			Flows: []balancer.Flow{
				flow("web", classify.Rule{Name: "b-source", Priority: 9, Sources: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}),
				flow("web", classify.Rule{Name: "a-sport", Priority: 9, SourcePorts: one(7)}),
				flow("web", classify.Rule{Name: "dport", Priority: 8, DestinationPorts: one(1234), Protocols: []uint8{classify.UDP}}),
				flow("web", classify.Rule{Name: "proto", Priority: 7, Protocols: []uint8{classify.SCTP}, DestinationPorts: one(9), TargetPort: 99}),
				flow("web", classify.Rule{Name: "bytes", Priority: 6, ByteMatches: []classify.ByteMatch{
					{Protocol: classify.UDP, Offset: 8, Width: 1, Value: 1},
					{Protocol: classify.TCP, Offset: 2, Width: 2, Mask: 0xff00, Value: 0},
					{Protocol: classify.TCP, Offset: 20, Width: 4, Value: 0x47455420},
				}}),
				flow("empty", classify.Rule{Name: "all", Priority: -1, DestinationPorts: []classify.PortRange{{First: 50, Last: 59}}}),
				flow("web", classify.Rule{Name: "block", Priority: -2, VIPs: []netip.Prefix{block}, DestinationPorts: []classify.PortRange{{First: 1, Last: 999}}}),
			},
		},
		snapshot: balancer.Snapshot{Gateways: lb.Gateways{Default4: []netip.Addr{netip.MustParseAddr("10.0.0.254")}}, Streams: []balancer.StreamState{
			{Name: "empty", TableSize: 251}, {Name: "web", TableSize: 251, Targets: []string{"a"}},
		}},
	}
}

func (g ground) explain(frame []byte) explanation {
	p, err := packet.Parse(frame)
	return g.outside(frame, p, err)
}

func tcp4(dst netip.Addr, sport, dport uint16, payload string) []byte {
	ip := packet.IP{Src: client, Dst: dst}
	return ip.Packet(toUs, packet.TCP, ip.TCP(sport, dport, packet.SYN, []byte(payload)))
}

// Each flow that comes first is named with the first field that differs.
func TestMismatches(t *testing.T) {
	e := testGround().explain(tcp4(vip4, 4000, 80, "GE"))
	want := []Mismatch{
		{"a-sport", 9, "web", "source-ports", "4000 is not in 7"},
		{"b-source", 9, "web", "source-subnets", "198.51.100.7 is not in 10.9.0.0/16"},
		{"dport", 8, "web", "destination-ports", "80 is not in 1234"},
		{"proto", 7, "web", "destination-ports", "80 is not in 9"},
		{"bytes", 6, "web", "byte-matches[2]", "tcp[20:4] reaches beyond the 22 bytes that there are"},
		{"all", -1, "empty", "destination-ports", "80 is not in 50-59"},
	}
	if diff := cmp.Diff(want, e.mismatches); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e.flow == nil || e.flow.Rule.Name != "block" || e.vip != netip.PrefixFrom(vip4, 32) {
		t.Errorf("flow %+v of VIP %s", e.flow, e.vip)
	}
	for field, frame := range map[string][]byte{
		"tcp[20:4] = 0x47455420, the packet has 0x504f5354":    tcp4(vip4, 4000, 80, "POST"),
		"tcp[2:2] & 0xff00 = 0x0, the packet has 0x300":        tcp4(vip4, 4000, 800, "GET "),
		"udp[8:1] = 0x1, the packet has 0x47":                  udp4(80, "G"),
		"tcp is not in sctp":                                   tcp4(vip4, 4000, 9, ""),
		"80 is not in 1234":                                    tcp4(vip4, 4000, 80, "GET "),
		"198.51.100.7 is not in 10.9.0.0/16":                   tcp4(vip4, 4000, 80, "GET "),
		"tcp[20:4] reaches beyond the 20 bytes that there are": tcp4(vip4, 4000, 80, ""),
	} {
		e := testGround().explain(frame)
		if !slices.ContainsFunc(e.mismatches, func(m Mismatch) bool { return m.Reason == field }) {
			t.Errorf("%q is not among %+v", field, e.mismatches)
		}
	}
}

func udp4(dport uint16, payload string) []byte {
	ip := packet.IP{Src: client, Dst: vip4}
	return ip.Packet(toUs, packet.UDP, ip.UDP(4000, dport, []byte(payload)))
}

func TestListsAreCut(t *testing.T) {
	r := classify.Rule{}
	for p := uint16(10); p < 20; p++ {
		r.DestinationPorts = append(r.DestinationPorts, classify.PortRange{First: p, Last: p})
	}
	if _, why := differs(&r, key{dport: 80}); why != "80 is not in 10, 11, 12, 13, 6 more" {
		t.Error(why)
	}
}

func TestExplanations(t *testing.T) {
	ip4, ip6 := packet.IP{Src: client, Dst: vip4}, packet.IP{Src: other6, Dst: vip6}
	icmp := func(ip packet.IP, kind, code uint8, rest ...byte) []byte {
		proto, message := ip.ICMP(kind, code, append(make([]byte, 4), rest...))
		return ip.Packet(toUs, proto, message)
	}
	// What the VIP sent to the client, as an error quotes it: from port 443.
	back := packet.IP{Src: vip4, Dst: client}
	quote := back.Packet(packet.Ethernet{}, packet.TCP, back.TCP(443, 4000, packet.ACK, nil))[14:]
	forged := packet.IP{Src: client, Dst: client}
	with := func(ip packet.IP, change func(*packet.IP)) packet.IP { change(&ip); return ip }
	df := with(ip4, func(ip *packet.IP) { ip.Fragment = packet.FragmentDF })
	first := with(ip4, func(ip *packet.IP) { ip.Fragment = packet.FragmentMF })
	later := with(ip4, func(ip *packet.IP) { ip.Fragment = 10 })
	aged := with(ip4, func(ip *packet.IP) { ip.TTL = 1 })
	tagged := packet.Ethernet{Dst: extMAC, Tags: []packet.Tag{{TCI: 7}}}
	for name, tt := range map[string]struct {
		frame   []byte
		reasons string // joined
		port    uint16
	}{
		"forwarded":           {tcp4(vip4, 4000, 80, "x"), "forwarded fragmented", 80},
		"do not fragment":     {df.Packet(toUs, packet.TCP, df.TCP(4000, 80, 2, nil)), "forwarded too_big", 80},
		"IPv6":                {ip6.Packet(toUs, packet.TCP, ip6.TCP(7, 80, 2, nil)), "forwarded too_big", 80},
		"no flow":             {tcp4(vip4, 4000, 2000, "x"), "no_flow", 0},
		"no target":           {tcp4(vip4, 4000, 55, "x"), "no_target", 0},
		"own translation":     {tcp4(vip4, 4000, 443, ""), "forwarded fragmented", 9443},
		"translation around":  {tcp4(netip.MustParseAddr("20.0.0.2"), 4000, 443, ""), "forwarded fragmented", 8443},
		"inherited":           {udp4(53, "\x02"), "no_target", 0},
		"inherited, of block": {with(ip4, func(ip *packet.IP) { ip.Dst = netip.MustParseAddr("20.0.0.2") }).Packet(toUs, packet.UDP, ip4.UDP(1, 53, nil)), "forwarded fragmented", 5353},
		"translation of rule": {ip4.Packet(toUs, packet.SCTP, ip4.SCTP(4000, 9, nil)), "forwarded fragmented", 99},
		"translated fragment": {first.Packet(toUs, packet.SCTP, ip4.SCTP(4000, 9, nil)), "nat fragmented", 99},
		"first fragment":      {first.Packet(toUs, packet.TCP, ip4.TCP(4000, 80, 2, nil)), "forwarded fragmented", 80},
		"later fragment":      {later.Packet(toUs, packet.TCP, ip4.TCP(4000, 80, 2, nil)), "", 0},
		"TTL":                 {aged.Packet(toUs, packet.TCP, ip4.TCP(4000, 80, 2, nil)), "ttl_expired", 80},
		"ping":                {icmp(ip4, packet.EchoRequestV4, 0), "echo_answered", 0},
		"ping IPv6":           {icmp(ip6, packet.EchoRequestV6, 0), "echo_answered", 0},
		"pong":                {icmp(ip4, packet.EchoReplyV4, 0), "icmp", 0},
		"error":               {icmp(ip4, packet.UnreachableV4, 3, quote...), "icmp_forwarded fragmented", 9443},
		"error that lies":     {icmp(ip4, packet.UnreachableV4, 3, forged.Packet(packet.Ethernet{}, packet.TCP, forged.TCP(443, 1, 0, nil))[14:]...), "icmp", 0},
		"error without quote": {icmp(ip4, packet.UnreachableV4, 3), "icmp", 0},
		"other protocol":      {ip4.Packet(toUs, 47, []byte("gre")), "protocol", 0},
		"ICMPv6 in IPv4":      {ip4.Packet(toUs, packet.ICMPv6, make([]byte, 8)), "protocol", 0},
		"short":               {ip4.Packet(toUs, packet.TCP, make([]byte, 19)), "malformed", 0},
		"routing header":      {with(ip6, func(ip *packet.IP) { ip.Extensions = []packet.Extension{packet.RoutingHeader(1)} }).Packet(toUs, packet.TCP, ip6.TCP(1, 80, 2, nil)), "extension_headers", 0},
		"no VIP":              {tcp4(client, 4000, 80, ""), "pass_not_vip", 0},
		"MAC":                 {ip4.Packet(packet.Ethernet{Dst: packet.MAC{2, 2}}, packet.TCP, ip4.TCP(1, 80, 2, nil)), "pass_not_host", 0},
		"VLAN":                {ip4.Packet(tagged, packet.TCP, ip4.TCP(1, 80, 2, nil)), "pass_vlan", 0},
		"not IP":              {toUs.Frame(0x88cc, make([]byte, 46)), "pass_not_ip", 0},
		"ARP":                 {toUs.Frame(packet.EtherARP, make([]byte, 46)), "", 0},
		"neighbour":           {icmp(ip6, packet.NDSolicitation, 0, make([]byte, 20)...), "", 0},
		"cut":                 {toUs.Frame(packet.EtherIPv4, make([]byte, 10)), "", 0},
	} {
		e := testGround().explain(tt.frame)
		if got := strings.Join(e.reasons, " "); got != tt.reasons || e.port != tt.port {
			t.Errorf("%s: %q, port %d; want %q, port %d", name, got, e.port, tt.reasons, tt.port)
		}
	}
}

// The VLAN of a replica and the targets of its streams count, too.
func TestExplanationsDependOnTheReplica(t *testing.T) {
	ip4 := packet.IP{Src: client, Dst: vip4}
	tagged := packet.Ethernet{Dst: extMAC, Tags: []packet.Tag{{TCI: 7}}}
	proto, ping := ip4.ICMP(packet.EchoRequestV4, 0, make([]byte, 4))
	g := testGround()
	g.vlan = 7
	if e := g.explain(tcp4(vip4, 4000, 80, "")); !slices.Equal(e.reasons, []string{"pass_vlan"}) {
		t.Errorf("frame without tag: %v", e.reasons)
	}
	if e := g.explain(ip4.Packet(tagged, packet.TCP, ip4.TCP(1, 80, 2, nil))); e.flow == nil {
		t.Errorf("frame with the replica's tag: %v", e.reasons)
	}
	g.snapshot = balancer.Snapshot{}
	g.vlan = 0
	if e := g.explain(ip4.Packet(toUs, proto, ping)); !slices.Equal(e.reasons, []string{"no_target"}) {
		t.Errorf("ping without targets: %v", e.reasons)
	}
}

func TestReplies(t *testing.T) {
	reply := func(src, dst netip.Addr, ttl, proto uint8, sport uint16) explanation {
		ip := packet.IP{Src: src, Dst: dst, TTL: ttl}
		transport := ip.TCP(sport, 4000, 0, nil)
		if proto == packet.SCTP {
			transport = ip.SCTP(sport, 4000, nil)
		}
		p, err := packet.Parse(ip.Packet(toUs, proto, transport))
		return testGround().reply(p, err)
	}
	for name, tt := range map[string]struct {
		got     explanation
		reasons string
		port    uint16
	}{
		"plain":            {reply(vip4, client, 64, packet.TCP, 80), "reply_forwarded fragmented", 80},
		"translated":       {reply(vip4, client, 64, packet.TCP, 9443), "reply_forwarded fragmented", 443},
		"around":           {reply(vip4, client, 64, packet.TCP, 8443), "reply_forwarded fragmented", 443},
		"of the block":     {reply(netip.MustParseAddr("20.0.0.3"), client, 64, packet.TCP, 8443), "reply_forwarded fragmented", 443},
		"not of the block": {reply(netip.MustParseAddr("20.0.0.3"), client, 64, packet.TCP, 9443), "reply_forwarded fragmented", 9443},
		"of a rule":        {reply(vip4, client, 64, packet.SCTP, 99), "reply_forwarded fragmented", 9},
		"other protocol":   {reply(vip4, client, 64, packet.TCP, 99), "reply_forwarded fragmented", 99},
		"no gateway":       {reply(vip6, other6, 64, packet.TCP, 80), "no_gateway", 0},
		"no VIP":           {reply(client, vip4, 64, packet.TCP, 80), "pass_reply", 0},
		"TTL":              {reply(vip4, client, 1, packet.TCP, 80), "ttl_expired", 80},
	} {
		if got := strings.Join(tt.got.reasons, " "); got != tt.reasons || tt.got.port != tt.port {
			t.Errorf("%s: %q, port %d; want %q, port %d", name, got, tt.got.port, tt.reasons, tt.port)
		}
	}
}
