// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
)

var (
	client4, client6 = netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")
	router4, router6 = netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("2001:db8:9::9")
	vip4, vip6       = netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")

	toUs     = packet.Ethernet{Dst: packet.MAC{2, 0, 0, 0, 0, 1}, Src: packet.MAC{2, 0, 0, 0, 0, 2}}
	back     = packet.Ethernet{Dst: toUs.Src, Src: toUs.Dst}
	toTarget = packet.Ethernet{Dst: packet.MAC{2, 0, 1, 0, 0, 1}, Src: packet.MAC{2, 0, 2, 0, 0, 1}}

	// The client's packets as they come and as they go to the target, and the
	// target's.
	families = map[string]struct{ in, out, reply packet.IP }{
		"IPv4": {packet.IP{Src: client4, Dst: vip4, TTL: 9}, packet.IP{Src: client4, Dst: vip4, TTL: 8}, packet.IP{Src: vip4, Dst: client4, TTL: 9}},
		"IPv6": {packet.IP{Src: client6, Dst: vip6, TTL: 9}, packet.IP{Src: client6, Dst: vip6, TTL: 8}, packet.IP{Src: vip6, Dst: client6, TTL: 9}},
	}
	protocols = map[string]uint8{"TCP": packet.TCP, "UDP": packet.UDP, "SCTP": packet.SCTP}
)

// world sends port 80 to target 1 as it is, and translates port 443 by its rule
// and port 90 by a NAT.
func world() World {
	vips := []netip.Prefix{netip.PrefixFrom(vip4, 32), netip.PrefixFrom(vip6, 128)}
	rule := func(name string, stream, flow uint32, ports ...uint16) classify.Rule {
		r := classify.Rule{Name: name, VIPs: vips, Stream: stream, Flow: flow}
		for _, p := range ports {
			r.DestinationPorts = append(r.DestinationPorts, classify.PortRange{First: p, Last: p})
		}
		return r
	}
	w := World{
		Set: classify.Set{
			VIPs: vips,
			Rules: []classify.Rule{
				rule("web", 1, 11, 80, 90), rule("nat", 1, 12, 443),
				rule("no table", 2, 13, 444), rule("no target", 3, 14, 445), rule("unknown", 4, 15, 446),
			},
		},
		Gateways4: []netip.Addr{router4},
		Gateways6: []netip.Addr{router6},
		Tables:    map[uint32][]uint16{1: {1}, 3: {0}, 4: {9}},
		Targets:   map[uint16]Target{1: {MAC: toTarget.Dst, LegMAC: toTarget.Src}},
		MAC:       toUs.Dst,
		SlowPath:  true,
		Fragments: Fragments{},
	}
	w.Set.Rules[1].TargetPort = 8443
	for _, vip := range vips {
		for _, proto := range protocols {
			w.Set.NATs = append(w.Set.NATs, classify.NAT{VIP: vip, Protocol: proto, Port: 90, TargetPort: 9090})
		}
	}
	return w
}

// web is what is decided on a packet that goes to port 80.
func web(verdict string, frame []byte) Decision {
	return Decision{Verdict: verdict, Stream: 1, Flow: 11, Target: 1, Frame: frame}
}

// segment is a transport header with 60 bytes of data.
func segment(ip packet.IP, proto uint8, sport, dport uint16) []byte {
	data := make([]byte, 60)
	for i := range data {
		data[i] = byte(7 * i)
	}
	switch proto {
	case packet.TCP:
		return ip.TCP(sport, dport, packet.ACK, data)
	case packet.UDP:
		return ip.UDP(sport, dport, data)
	case packet.SCTP:
		return ip.SCTP(sport, dport, data)
	}
	return data
}

// frame is a packet with such a segment.
func frame(eth packet.Ethernet, ip packet.IP, proto uint8, sport, dport uint16) []byte {
	return ip.Packet(eth, proto, segment(ip, proto, sport, dport))
}

func patch(frame []byte, at int, b ...byte) []byte {
	frame = append([]byte{}, frame...)
	copy(frame[at:], b)
	return frame
}

type step struct {
	name  string
	frame []byte
	want  Decision
}

// run makes decisions one after the other.
func run(t *testing.T, decide func([]byte) Decision, steps ...step) {
	t.Helper()
	for _, s := range steps {
		before := string(s.frame)
		got := decide(s.frame)
		if diff := cmp.Diff(s.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", s.name, diff)
		}
		if string(s.frame) != before {
			t.Errorf("%s: the frame was changed in place", s.name)
		}
	}
}
