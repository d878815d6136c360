// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"errors"
	"testing"
)

// TestFragments cuts packets up and puts them together again.
func TestFragments(t *testing.T) {
	options, exts, auth := ip4, ip6, ip4
	options.ID, options.Options, options.Fragment = 9, make([]byte, 8), FragmentDF
	auth.ID, auth.Extensions = 9, []Extension{AuthHeader(4)}
	exts.Extensions = []Extension{Options(HopByHop, 1), Options(DstOptions, 0), RoutingHeader(0), Options(DstOptions, 2)}
	for name, c := range map[string]struct {
		ip     IP
		header int // bytes that every fragment repeats
	}{
		"IPv4": {options, 28}, "IPv4 AH": {auth, 20}, "IPv6": {ip6, 40}, "IPv6 extensions": {exts, 40 + 16 + 8 + 8},
	} {
		transport := c.ip.UDP(1, 2, bytes.Repeat([]byte("fragments"), 20))
		whole := c.ip.Packet(eth, UDP, transport)
		list := Fragments(whole, 64, 9)
		var data []byte
		for i, f := range list {
			p, err := Parse(f)
			if err != nil || p.Fragment.ID != 9 && c.ip.ID+uint16(p.Fragment.ID) != 9 {
				t.Fatalf("%s: %+v, %v", name, p, err)
			}
			if p.Fragment.First() != (i == 0) || p.Fragment.Later() != (i > 0) || p.Fragment.More != (i < len(list)-1) ||
				p.Fragment.Offset != len(data) || p.DontFragment != (c.ip.Fragment != 0) || (p.DstPort == 2) != (i == 0) {
				t.Errorf("%s: fragment %d: %+v", name, i, p)
			}
			at := p.L3 + c.header
			if !c.ip.Src.Is4() {
				at += 8
			} else if Checksum(0, f[p.L3:at]) != 0 {
				t.Errorf("%s: fragment %d: wrong header checksum", name, i)
			}
			data = append(data, f[at:p.L3+p.Length]...)
		}
		if len(list) < 3 || !bytes.Equal(data, whole[14+c.header:]) {
			t.Errorf("%s: %d fragments make\n% x, want\n% x", name, len(list), data, whole[14+c.header:])
		}
	}
}

func TestFragmentHeaders(t *testing.T) {
	with := func(e ...Extension) []byte {
		ip := ip6
		ip.Extensions = e
		return ip.Packet(eth, UDP, ip.UDP(1, 2, nil))
	}
	v4 := func(id, field uint16) []byte {
		ip := ip4
		ip.ID, ip.Fragment = id, field
		return ip.Packet(eth, UDP, ip.UDP(1, 2, nil))
	}
	first, later, atomic := FragmentHeader(0, true, 1), FragmentHeader(3, true, 2), FragmentHeader(0, false, 3)
	for name, c := range map[string]struct {
		frame []byte
		want  Fragmentation
		ports bool
	}{
		"IPv4 whole":        {v4(5, FragmentDF), Fragmentation{0, false, 5}, true},
		"IPv4 first":        {v4(5, FragmentMF), Fragmentation{0, true, 5}, true},
		"IPv4 later":        {v4(5, FragmentMF|3), Fragmentation{24, true, 5}, false},
		"IPv4 last":         {v4(5, 3), Fragmentation{24, false, 5}, false},
		"first":             {with(first), Fragmentation{0, true, 1}, true},
		"later":             {with(later), Fragmentation{24, true, 2}, false},
		"atomic":            {with(atomic), Fragmentation{}, true},
		"first, options":    {with(first, Options(DstOptions, 0)), Fragmentation{0, true, 1}, true},
		"later, any data":   {with(later, RoutingHeader(1)), Fragmentation{24, true, 2}, false},
		"first, atomic":     {with(first, atomic), Fragmentation{0, true, 1}, true},
		"atomic, later":     {with(atomic, later), Fragmentation{24, true, 2}, false},
		"first, then later": {with(first, later), Fragmentation{24, true, 2}, false},
	} {
		p, err := Parse(c.frame)
		if err != nil || p.Fragment != c.want || (p.DstPort == 2) != c.ports {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	// What came before the header that cannot be passed is known.
	p, err := Parse(with(first, RoutingHeader(1)))
	if !errors.Is(err, ErrExtension) || p.Fragment != (Fragmentation{0, true, 1}) {
		t.Errorf("first, segments left: %+v, %v", p, err)
	}
}
