// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	eth = Ethernet{Dst: MAC{2, 0, 0, 0, 0, 1}, Src: MAC{2, 0, 0, 0, 0, 2}}
	ip4 = IP{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("20.0.0.1"), TTL: 9}
	ip6 = IP{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2000::1"), TTL: 9}
)

func TestRoundTrip(t *testing.T) {
	options, exts := ip4, ip6
	options.Options = make([]byte, 8)
	exts.Extensions = []Extension{Options(HopByHop, 1), FragmentHeader(0, false, 1), RoutingHeader(0), AuthHeader(4), Options(DstOptions, 255)}
	auth := ip4
	auth.ID, auth.Fragment, auth.Extensions = 7, FragmentDF, []Extension{AuthHeader(1), AuthHeader(255)}
	tags := []Tag{{EtherQinQ, 7}, {EtherVLAN, 0x2005}}
	for name, c := range map[string]struct {
		ip     IP
		tags   []Tag
		l3, l4 int
	}{
		"IPv4":            {ip4, nil, 14, 34},
		"IPv4 options":    {options, nil, 14, 42},
		"IPv6":            {ip6, nil, 14, 54},
		"IPv4 AH":         {auth, nil, 14, 34 + 12 + 1028},
		"IPv6 extensions": {exts, nil, 14, 54 + 32 + 24 + 2048},
		"tags":            {ip4, tags, 22, 42},
	} {
		for proto, payload := range map[uint8][]byte{
			TCP: c.ip.TCP(1, 2, 0x12, []byte("odd")), UDP: c.ip.UDP(1, 2, []byte("even")), SCTP: c.ip.SCTP(1, 2, []byte("odd")),
		} {
			e := eth
			e.Tags = c.tags
			got, err := Parse(c.ip.Packet(e, proto, payload))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			want := Packet{
				Ethernet: e, EtherType: got.EtherType, L3: c.l3, Src: c.ip.Src, Dst: c.ip.Dst, TTL: 9,
				Length: c.l4 - c.l3 + len(payload), DontFragment: c.ip.Fragment == FragmentDF,
				Fragment: Fragmentation{ID: uint32(c.ip.ID)}, Next: got.Next,
				Proto: proto, L4: c.l4, L4Len: len(payload), SrcPort: 1, DstPort: 2,
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", name, diff)
			}
		}
	}
}

// TestChecksums checks each builder's sum the way a receiver does.
func TestChecksums(t *testing.T) {
	frame := ip4.Packet(eth, UDP, ip4.UDP(1, 2, nil))
	if Checksum(0, frame[14:34]) != 0 {
		t.Error("IPv4 header checksum is wrong")
	}
	for _, ip := range []IP{ip4, ip6} {
		for proto, b := range map[uint8][]byte{TCP: ip.TCPOptions(1, 2, SYN, MSS(9), []byte("odd")), UDP: ip.UDP(1, 2, []byte("odd"))} {
			if Checksum(ip.pseudo(proto, len(b)), b) != 0 {
				t.Errorf("checksum of protocol %d from %s is wrong", proto, ip.Src)
			}
		}
	}
	if _, b := ip4.ICMP(8, 0, []byte("hello")); Checksum(0, b) != 0 {
		t.Error("ICMP checksum is wrong")
	}
	if proto, b := ip6.ICMP(128, 0, []byte("hello")); proto != ICMPv6 || Checksum(ip6.pseudo(ICMPv6, len(b)), b) != 0 {
		t.Error("ICMPv6 checksum is wrong")
	}
	b := ip4.SCTP(1, 2, []byte("hello"))
	sum := binary.LittleEndian.Uint32(b[8:])
	clear(b[8:12])
	if len(b)%4 != 0 || sum != crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) {
		t.Error("SCTP checksum is wrong")
	}
	// RFC 1071, section 3: the sum is ddf2.
	if got := Checksum(0, []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("got %04x", got)
	}
}

func TestNeighbours(t *testing.T) {
	arp := ARP{Op: ARPRequest, SenderMAC: eth.Src, SenderIP: ip4.Src, TargetIP: ip4.Dst}
	got, err := Parse(arp.Frame(eth))
	if err != nil || got.ARP == nil || *got.ARP != arp {
		t.Errorf("got %+v, %v", got.ARP, err)
	}
	group, mac := SolicitedNode(netip.MustParseAddr("2000::12:3456"))
	if group != netip.MustParseAddr("ff02::1:ff12:3456") || mac != (MAC{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}) {
		t.Errorf("got %s, %x", group, mac)
	}
	nd := ND{Type: NDSolicitation, Target: ip6.Dst, Options: []NDOption{{NDSourceMAC, eth.Src}}}
	frame := nd.Frame(eth, IP{Src: ip6.Src, Dst: group})
	p, err := Parse(frame)
	if err != nil || p.TTL != 255 || p.Proto != ICMPv6 || p.L4Len != 32 || frame[p.L4] != NDSolicitation {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestParseErrors(t *testing.T) {
	good4, good6 := ip4.Packet(eth, TCP, ip4.TCP(1, 2, 0, nil)), ip6.Packet(eth, TCP, ip6.TCP(1, 2, 0, nil))
	change := func(b []byte, at int, v byte) []byte {
		b = slices.Clone(b)
		b[at] = v
		return b
	}
	with := func(e ...Extension) []byte {
		ip := ip6
		ip.Extensions = e
		return ip.Packet(eth, UDP, ip.UDP(1, 2, nil))
	}
	tags := eth
	tags.Tags = make([]Tag, 3)
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"13 bytes":       {good4[:13], ErrEthernet},
		"cut tag":        {tags.Frame(EtherIPv4, nil)[:17], ErrEthernet},
		"three tags":     {tags.Frame(EtherIPv4, good4[14:]), ErrTags},
		"19 bytes IPv4":  {good4[:33], ErrNetwork},
		"39 bytes IPv6":  {good6[:53], ErrNetwork},
		"27 bytes ARP":   {eth.Frame(EtherARP, make([]byte, 27)), ErrNetwork},
		"version":        {change(good4, 14, 0x65), ErrLength},
		"header length":  {change(good4, 14, 0x44), ErrLength},
		"total length":   {change(good4, 16, 1), ErrLength},
		"payload length": {change(good6, 18, 1), ErrLength},
		"cut transport":  {ip4.Packet(eth, TCP, make([]byte, 19)), ErrTransport},
		"cut extension":  {ip6.Packet(eth, HopByHop, make([]byte, 7)), ErrTransport},
		"long extension": {ip6.Packet(eth, HopByHop, append([]byte{TCP}, Options(DstOptions, 2).Body[:15]...)), ErrTransport},
		"cut AH":         {ip6.Packet(eth, AH, []byte{TCP, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}), ErrTransport},
		"cut AH, IPv4":   {ip4.Packet(eth, AH, []byte{TCP, 0, 0, 0, 0, 0, 0}), ErrTransport},
		"cut ICMP":       {ip4.Packet(eth, ICMP, make([]byte, 7)), ErrTransport},
		"cut ICMPv6":     {ip6.Packet(eth, ICMPv6, make([]byte, 7)), ErrTransport},
		"segments left":  {with(RoutingHeader(1)), ErrExtension},
		"too many":       {with(slices.Repeat([]Extension{Options(DstOptions, 0)}, 9)...), ErrExtension},
	} {
		if _, err := Parse(c.frame); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if p, err := Parse(with(slices.Repeat([]Extension{Options(DstOptions, 0)}, 8)...)); err != nil || p.DstPort != 2 {
		t.Errorf("eight extensions: %+v, %v", p, err)
	}
	if p, err := Parse(ip4.Packet(eth, ICMPv6, make([]byte, 7))); err != nil || p.IsICMP() {
		t.Errorf("ICMPv6 in IPv4: %+v, %v", p, err)
	}
	if p, err := Parse(ip4.Packet(eth, HopByHop, make([]byte, 8))); err != nil || p.Proto != HopByHop {
		t.Errorf("IPv4 has no hop-by-hop options: %+v, %v", p, err)
	}
}

// TestFlowHash checks that the hash spreads, and that every part of the tuple
// counts. Its agreement with the C code is tested with the program.
func TestFlowHash(t *testing.T) {
	for _, ip := range []IP{ip4, ip6} {
		base := FlowHash(ip.Src, ip.Dst, TCP, 1, 2)
		for name, other := range map[string]uint32{
			"source":           FlowHash(ip.Src.Next(), ip.Dst, TCP, 1, 2),
			"destination":      FlowHash(ip.Src, ip.Dst.Next(), TCP, 1, 2),
			"protocol":         FlowHash(ip.Src, ip.Dst, UDP, 1, 2),
			"source port":      FlowHash(ip.Src, ip.Dst, TCP, 2, 2),
			"destination port": FlowHash(ip.Src, ip.Dst, TCP, 1, 3),
			"direction":        FlowHash(ip.Dst, ip.Src, TCP, 2, 1),
		} {
			if other == base {
				t.Errorf("%s: %s does not count", ip.Src, name)
			}
		}
		// 65536 flows into 64 bins: 1024 each, standard deviation 32.
		var bins [64]int
		for port := range 65536 {
			bins[HashPick(FlowHash(ip.Src, ip.Dst, TCP, uint16(port), 80), 64)]++
		}
		for i, n := range bins {
			if n < 1024-6*32 || n > 1024+6*32 {
				t.Errorf("%s: bin %d has %d of 65536 flows", ip.Src, i, n)
			}
		}
	}
}
