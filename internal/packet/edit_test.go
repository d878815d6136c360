// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

func TestNetwork(t *testing.T) {
	good4, good6 := ip4.Packet(eth, UDP, ip4.UDP(1, 2, nil))[14:], ip6.Packet(eth, UDP, ip6.UDP(1, 2, nil))[14:]
	for _, p := range [][]byte{good4, good6} {
		if got, err := Network(append(slices.Clone(p), 1, 2, 3)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%x became %x, %v", p, got, err)
		}
	}
	change := func(b []byte, at int, v byte) []byte {
		b = slices.Clone(b)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		packet []byte
		want   error
	}{
		"19 bytes":        {good4[:19], ErrNetwork},
		"39 bytes":        {good6[:39], ErrNetwork},
		"version 5":       {change(good4, 0, 0x55), ErrLength},
		"header of 16":    {change(good4, 0, 0x44), ErrLength},
		"shorter than it": {change(good4, 3, 19), ErrLength},
		"super packet":    {change(good4, 3, 0), ErrLength},
		"cut":             {good4[:len(good4)-1], ErrLength},
		"cut IPv6":        {good6[:len(good6)-1], ErrLength},
	} {
		if p, err := Network(c.packet); !errors.Is(err, c.want) || p != nil {
			t.Errorf("%s: got %x, %v, want %v", name, p, err, c.want)
		}
	}
}

func TestEdit(t *testing.T) {
	for _, ip := range []IP{ip4, ip6} {
		// Every TTL from every other: all carries of the update.
		for from := range 256 {
			ip.TTL = uint8(max(1, from))
			p := ip.Packet(eth, UDP, ip.UDP(1, 2, nil))[14:]
			for to := range 256 {
				SetTTL(p, uint8(to))
				if int(TTL(p)) != to || ip.Src.Is4() && Checksum(0, p[:20]) != 0 {
					t.Fatalf("from %d to %d: %x", from, to, p)
				}
			}
		}
		p := ip.Packet(eth, UDP, ip.UDP(1, 2, nil))[14:]
		SwapAddresses(p)
		if src, dst := Addresses(p); src != ip.Dst || dst != ip.Src {
			t.Errorf("%s to %s became %s to %s", ip.Src, ip.Dst, src, dst)
		}
		swapped := IP{Src: ip.Dst, Dst: ip.Src, TTL: 9}
		SetTTL(p, 9)
		if want := swapped.Packet(eth, UDP, swapped.UDP(2, 1, nil))[14:]; !bytes.Equal(p[:20], want[:20]) {
			t.Errorf("got %x, want %x", p, want)
		}
	}
	p := ip4.Packet(eth, UDP, nil)[14:]
	p[11]++
	SetTTL(p, 3)
	if Checksum(0, p[:20]) == 0 {
		t.Error("a wrong checksum was made right")
	}
	df := ip4
	df.Fragment = 0x4000
	if !MayFragment(p) || MayFragment(df.Packet(eth, UDP, nil)[14:]) || MayFragment(ip6.Packet(eth, UDP, nil)[14:]) {
		t.Error("MayFragment is wrong")
	}
}

// TestCompleteIPv4 takes sums away as offloading senders do.
func TestCompleteIPv4(t *testing.T) {
	payload := []byte("odd")
	for proto, c := range map[uint8]struct {
		transport []byte
		at        int
	}{
		TCP: {ip4.TCP(1, 2, 2, payload), 16}, UDP: {ip4.UDP(1, 2, payload), 6}, SCTP: {ip4.SCTP(1, 2, payload), 8},
	} {
		good := ip4.Packet(eth, proto, c.transport)[14:]
		left := slices.Clone(good)
		sum := left[20+c.at:]
		if proto == SCTP {
			clear(sum[:4])
		} else {
			binary.BigEndian.PutUint16(sum, uint16(ip4.pseudo(proto, len(c.transport))))
		}
		part := slices.Clone(left)
		part[6] = byte(FragmentMF >> 8)
		for name, change := range map[string]struct{ from, to []byte }{"partial": {left, good}, "good": {good, good}, "a part": {part, part}} {
			p := slices.Clone(change.from)
			CompleteIPv4(p)
			if !bytes.Equal(p, change.to) {
				t.Errorf("protocol %d, %s: got %x, want %x", proto, name, p, change.to)
			}
		}
		wrong := slices.Clone(good)
		wrong[20+c.at] ^= 0x55
		p := slices.Clone(wrong)
		if CompleteIPv4(p); !bytes.Equal(p, wrong) {
			t.Errorf("protocol %d: a wrong sum was made right", proto)
		}
		CompleteIPv4(ip4.Packet(eth, proto, c.transport[:4])[14:]) // too short for a sum
	}
	none := ip4.Packet(eth, UDP, ip4.UDP(1, 2, payload))[14:]
	clear(none[26:28])
	if CompleteIPv4(none); none[26] != 0 || none[27] != 0 {
		t.Error("a datagram without checksum got one")
	}
	// A sum of 0 is sent as 0xffff.
	zero := ip4.UDP(1, 2, []byte{0, 0})
	zero = ip4.UDP(1, 2, zero[6:8])
	p := ip4.Packet(eth, UDP, zero)[14:]
	binary.BigEndian.PutUint16(p[26:], uint16(ip4.pseudo(UDP, len(zero))))
	if CompleteIPv4(p); p[26] != 0xff || p[27] != 0xff {
		t.Errorf("got %x, want ffff", p[26:28])
	}
}

// TestSetPort compares with packets that are built with the other port.
func TestSetPort(t *testing.T) {
	body := []byte("odd")
	build := map[uint8]func(sport, dport uint16) []byte{
		TCP:  func(s, d uint16) []byte { return ip4.TCP(s, d, 2, body) },
		UDP:  func(s, d uint16) []byte { return ip4.UDP(s, d, body) },
		SCTP: func(s, d uint16) []byte { return ip4.SCTP(s, d, body) },
	}
	for proto, transport := range build {
		for _, port := range []uint16{0, 1, 80, 0x1234, 0xffff} {
			for _, destination := range []bool{true, false} {
				p, want := ip4.Packet(eth, proto, transport(7, 8))[14:], transport(port, 8)
				if destination {
					want = transport(7, port)
				}
				if !SetPort(p, port, destination) || !bytes.Equal(p[20:], want) {
					t.Errorf("protocol %d, port %d, destination %v: got %x, want %x", proto, port, destination, p[20:], want)
				}
			}
		}
	}
	without := ip4.Packet(eth, UDP, ip4.UDP(7, 8, body))[14:]
	binary.BigEndian.PutUint16(without[26:], 0)
	if !SetPort(without, 9, true) || binary.BigEndian.Uint16(without[26:]) != 0 {
		t.Errorf("a checksum of UDP came from nowhere: %x", without)
	}
	first, later := ip4, ip4
	first.Fragment, later.Fragment = FragmentMF, 1
	for name, p := range map[string][]byte{
		"first fragment of SCTP": first.Packet(eth, SCTP, ip4.SCTP(7, 8, body)),
		"later fragment":         later.Packet(eth, UDP, ip4.UDP(7, 8, body)),
		"ICMP":                   ip4.Packet(eth, ICMP, make([]byte, 8)),
		"short":                  ip4.Packet(eth, TCP, make([]byte, 19)),
	} {
		before := bytes.Clone(p)
		if SetPort(p[14:], 9, true) || !bytes.Equal(before, p) {
			t.Errorf("%s: became %x", name, p)
		}
	}
}
