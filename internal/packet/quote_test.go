// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"slices"
	"testing"
)

// quoting is an error that quotes a packet of ip, of which cut bytes are missing.
func quoting(ip IP, proto uint8, transport []byte, cut int) []byte {
	b := ip.Packet(eth, proto, transport)[14:]
	_, message := IP{Src: ip.Dst, Dst: ip.Src}.ICMPError(3, 1, 0, b[:len(b)-cut])
	return message
}

func TestParseQuote(t *testing.T) {
	four := slices.Repeat([]Extension{Options(DstOptions, 3)}, 4)
	with := func(ip IP, e ...Extension) IP {
		ip.Extensions = e
		return ip
	}
	options, fragment, first := ip4, ip4, ip4
	options.Options = make([]byte, 40)
	fragment.Fragment, first.Fragment = 1, FragmentMF
	tcp := ip4.TCP(1, 2, 0, nil)
	patched := func(at int, v byte) []byte {
		b := quoting(ip4, TCP, tcp, 0)
		b[at] = v
		return b
	}
	long := patched(10, 0x7f) // a total length of which only the beginning is there
	for name, c := range map[string]struct {
		message []byte
		v4      bool
		l4      int // 0: no quote
	}{
		"TCP":             {quoting(ip4, TCP, tcp, 0), true, 28},
		"8 bytes":         {quoting(ip4, TCP, tcp, 12), true, 28},
		"7 bytes":         {quoting(ip4, TCP, tcp, 13), true, 0},
		"no header":       {quoting(ip4, TCP, tcp, 40), true, 0},
		"long":            {long, true, 28},
		"options":         {quoting(options, UDP, ip4.UDP(1, 2, nil), 0), true, 68},
		"cut options":     {quoting(options, UDP, ip4.UDP(1, 2, nil), 9), true, 0},
		"AH":              {quoting(with(ip4, AuthHeader(4)), TCP, tcp, 0), true, 52},
		"other version":   {patched(8, 0x65), true, 0},
		"header length":   {patched(8, 0x44), true, 0},
		"protocol":        {patched(17, ICMP), true, 0},
		"later fragment":  {quoting(fragment, TCP, tcp, 0), true, 0},
		"first fragment":  {quoting(first, TCP, tcp, 0), true, 28},
		"other family":    {quoting(ip4, TCP, tcp, 0), false, 0},
		"IPv6":            {quoting(ip6, SCTP, ip6.SCTP(1, 2, nil), 0), false, 48},
		"four extensions": {quoting(with(ip6, four...), TCP, tcp, 0), false, 48 + 128},
		"five":            {quoting(with(ip6, append(four, four[0])...), TCP, tcp, 0), false, 0},
		"segments left":   {quoting(with(ip6, RoutingHeader(1)), TCP, tcp, 0), false, 0},
		"atomic":          {quoting(with(ip6, FragmentHeader(0, false, 1)), TCP, tcp, 0), false, 56},
		"IPv6 later":      {quoting(with(ip6, FragmentHeader(1, false, 1)), TCP, tcp, 0), false, 0},
		"short":           {make([]byte, 7), true, 0},
	} {
		q, ok := ParseQuote(c.message, c.v4)
		if ok != (c.l4 != 0) {
			t.Errorf("%s: got %v", name, ok)
		}
		if ok && (q.L4 != c.l4 || q.SrcPort != 1 || q.DstPort != 2 || q.Src.Is4() != c.v4) {
			t.Errorf("%s: %+v", name, q)
		}
	}
	for kind := range uint8(255) {
		if ICMPError(ICMP, kind) != slices.Contains([]uint8{3, 11, 12}, kind) ||
			ICMPError(ICMPv6, kind) != slices.Contains([]uint8{1, 2, 3, 4}, kind) || ICMPError(TCP, kind) {
			t.Errorf("type %d", kind)
		}
	}
}
