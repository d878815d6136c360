// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestICMPErrorBytes(t *testing.T) {
	cause4 := ip4.Packet(eth, UDP, ip4.UDP(1, 2, []byte("abc")))[14:]
	cause6 := ip6.Packet(eth, UDP, ip6.UDP(1, 2, []byte("abc")))[14:]
	padded := func(b []byte) []byte { return append(slices.Clone(b), make([]byte, 20)...) }
	head4 := "45c0003b000040004001" + "1c01" + "14000001" + "0a000001"
	head6 := "60000000" + "003b3a40" + "20000000000000000000000000000001" + "20010db8000000000000000000000001"
	for name, c := range map[string]struct {
		got   []byte
		head  string
		cause []byte
	}{
		"time exceeded":      {TimeExceeded(ip4.Dst, padded(cause4)), head4 + "0b00" + "131e" + "00000000", cause4},
		"too big":            {TooBig(ip4.Dst, 1400, padded(cause4)), head4 + "0304" + "15a2" + "00000578", cause4},
		"too big, 67":        {TooBig(ip4.Dst, 67, cause4), head4 + "0304" + "1ad6" + "00000044", cause4},
		"too big, 70000":     {TooBig(ip4.Dst, 70000, cause4), head4 + "0304" + "1b1a" + "0000ffff", cause4},
		"IPv6 time exceeded": {TimeExceeded(ip6.Dst, padded(cause6)), head6 + "0300" + "3dd7" + "00000000", cause6},
		"IPv6 too big":       {TooBig(ip6.Dst, 1400, padded(cause6)), head6 + "0200" + "395f" + "00000578", cause6},
		"IPv6 too big, 1279": {TooBig(ip6.Dst, 1279, cause6), head6 + "0200" + "39d7" + "00000500", cause6},
	} {
		if want := append(unhex(t, c.head), c.cause...); !bytes.Equal(c.got, want) {
			t.Errorf("%s: got\n%x, want\n%x", name, c.got, want)
		}
	}
}

// TestICMPErrorQuote checks lengths and sums for causes of every length.
func TestICMPErrorQuote(t *testing.T) {
	for size := range 1600 {
		for _, c := range []struct {
			ip         IP
			head, most int
		}{{ip4, 20, 576}, {ip6, 40, 1280}} {
			cause := c.ip.Packet(eth, UDP, bytes.Repeat([]byte{0x5a}, size))[14:]
			for _, frame := range [][]byte{TimeExceeded(c.ip.Dst, cause), TooBig(c.ip.Dst, 1300, cause)} {
				want := min(c.most, c.head+8+len(cause))
				p, err := Parse(eth.Frame(map[bool]uint16{true: EtherIPv4, false: EtherIPv6}[c.head == 20], frame))
				if err != nil || len(frame) != want || p.Src != c.ip.Dst || p.Dst != c.ip.Src || p.TTL != 64 || p.L4Len != want-c.head {
					t.Fatalf("%d bytes: %+v, %v, want %d", size, p, err, want)
				}
				sum := uint32(0)
				if c.head == 40 {
					sum = IP{Src: p.Src, Dst: p.Dst}.pseudo(ICMPv6, p.L4Len)
				} else if Checksum(0, frame[:20]) != 0 {
					t.Fatalf("%d bytes: IPv4 checksum", size)
				}
				if Checksum(sum, frame[c.head:]) != 0 {
					t.Fatalf("%d bytes: ICMP checksum", size)
				}
				if quote := frame[c.head+8:]; !bytes.Equal(quote, cause[:len(quote)]) {
					t.Fatalf("%d bytes: another quote", size)
				}
			}
		}
	}
}

// TestICMPErrorOfSuper quotes super packets, whose length field is 0.
func TestICMPErrorOfSuper(t *testing.T) {
	for _, c := range []struct {
		ip         IP
		at, length int
	}{{ip4, 2, 576}, {ip6, 4, 1280}} {
		cause := c.ip.Packet(eth, TCP, make([]byte, 1400))[14:]
		binary.BigEndian.PutUint16(cause[c.at:], 0)
		if got := TooBig(c.ip.Dst, 1300, cause); len(got) != c.length {
			t.Errorf("%s: %d bytes, want %d", c.ip.Src, len(got), c.length)
		}
	}
	bare := ip6.Packet(eth, NoNext, nil)[14:]
	if got := TimeExceeded(ip6.Dst, append(bare, make([]byte, 6)...)); len(got) != 40+8+40 {
		t.Errorf("a bare header with padding gives %d bytes", len(got))
	}
}

func TestBlameable(t *testing.T) {
	with := func(ip IP, change func(*IP)) IP {
		change(&ip)
		return ip
	}
	icmp := func(ip IP, kind uint8) []byte {
		proto, b := ip.ICMP(kind, 0, make([]byte, 4))
		return ip.Packet(eth, proto, b)[14:]
	}
	exts := func(e ...Extension) IP { return with(ip6, func(ip *IP) { ip.Extensions = e }) }
	authentication := Extension{Proto: 51, Body: append([]byte{4}, make([]byte, 22)...)}
	wrongSum := udp(ip4)
	wrongSum[10]++
	short := udp(ip4)
	short[3] = 19
	type test struct {
		cause []byte
		want  bool
	}
	tests := map[string]test{
		"UDP": {udp(ip4), true}, "UDP/IPv6": {udp(ip6), true},
		"cut after the header": {udp(ip4)[:20], true}, "IPv6 cut after the header": {udp(ip6)[:40], true},
		"nothing": {nil, false}, "19 bytes": {udp(ip4)[:19], false}, "39 bytes": {udp(ip6)[:39], false},
		"wrong checksum": {wrongSum, false}, "total length": {short, false},
		"first fragment":      {udp(with(ip4, func(ip *IP) { ip.Fragment = FragmentMF })), true},
		"later fragment":      {udp(with(ip4, func(ip *IP) { ip.Fragment = 1 })), false},
		"IPv6 first fragment": {udp(exts(FragmentHeader(0, true, 1))), true},
		"IPv6 later fragment": {udp(exts(Options(HopByHop, 1), FragmentHeader(1, true, 1))), false},
		"eight extensions":    {udp(exts(slices.Repeat([]Extension{Options(DstOptions, 0)}, 8)...)), true},
		"nine extensions":     {udp(exts(slices.Repeat([]Extension{Options(DstOptions, 0)}, 9)...)), false},
		"cut extension":       {udp(exts(Options(DstOptions, 1)))[:55], false},
		"cut before next":     {udp(exts(Options(DstOptions, 1)))[:47], false},
		"ICMP cut away":       {icmp(ip4, 8)[:20], false},
		"behind AH":           {udp(exts(authentication)), true},
		"time exceeded after extensions": {
			with(ip6, func(ip *IP) { ip.Extensions = []Extension{authentication, RoutingHeader(0)} }).Packet(eth, ICMPv6, []byte{3})[14:], false,
		},
		"ICMP behind AH in IPv4": {
			ip4.Packet(eth, 51, append(append([]byte{ICMP, 4}, make([]byte, 22)...), 3, 0, 0, 0))[14:], false,
		},
	}
	for _, kind := range []uint8{0, 3, 4, 5, 8, 11, 12, 13} {
		tests[fmt.Sprint("ICMP ", kind)] = test{icmp(ip4, kind), kind == 0 || kind == 8 || kind == 13}
	}
	for _, kind := range []uint8{0, 1, 2, 3, 4, 127, 128, 129, 135, 137} {
		tests[fmt.Sprint("ICMPv6 ", kind)] = test{icmp(ip6, kind), kind >= 128 && kind != 137}
	}
	for name, c := range tests {
		if got := Blameable(c.cause) == nil; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBlameableAddresses(t *testing.T) {
	for _, pair := range [][2]string{
		{"0.0.0.0", "20.0.0.1"}, {"0.1.2.3", "20.0.0.1"}, {"127.0.0.1", "20.0.0.1"}, {"224.0.0.1", "20.0.0.1"},
		{"239.1.1.1", "20.0.0.1"}, {"240.0.0.1", "20.0.0.1"}, {"255.255.255.255", "20.0.0.1"},
		{"::", "2000::1"}, {"::1", "2000::1"}, {"ff02::1", "2000::1"}, {"::ffff:10.0.0.1", "2000::1"},
		{"10.0.0.1", "224.0.0.1"}, {"2001:db8::1", "ff02::1"},
		{"20.0.0.1", "20.0.0.1"}, {"2000::1", "2000::1"}, // from itself
	} {
		ip := IP{Src: netip.MustParseAddr(pair[0]), Dst: netip.MustParseAddr(pair[1])}
		if Blameable(udp(ip)) == nil {
			t.Errorf("an error about what %s sent to %s", ip.Src, ip.Dst)
		}
	}
}

// udp is a datagram without link layer.
func udp(ip IP) []byte { return ip.Packet(eth, UDP, ip.UDP(1, 2, nil))[14:] }
