// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParse checks that nothing panics, that offsets stay within the frame and
// that what is said of the packet holds together.
func FuzzParse(f *testing.F) {
	exts, auth := ip6, ip4
	exts.Extensions = []Extension{Options(HopByHop, 1), FragmentHeader(0, false, 1), RoutingHeader(0), AuthHeader(2)}
	auth.Extensions = []Extension{AuthHeader(1)}
	f.Add(ip4.Packet(eth, TCP, ip4.TCP(1, 2, 0, nil)))
	f.Add(auth.Packet(eth, UDP, auth.UDP(1, 2, nil)))
	f.Add(exts.Packet(eth, SCTP, exts.SCTP(1, 2, nil)))
	f.Add(ARP{Op: ARPReply, SenderIP: ip4.Src, TargetIP: ip4.Dst}.Frame(eth))
	for _, ip := range []IP{ip4, exts} {
		for _, b := range Fragments(ip.Packet(eth, UDP, ip.UDP(1, 2, make([]byte, 64))), 32, 7) {
			f.Add(b)
		}
		proto, message := ip.ICMP(8, 0, []byte("data"))
		f.Add(ip.Packet(eth, proto, message))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		p, err := Parse(frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("Parse changed the frame")
		}
		if p.L3 > len(frame) || p.L4+p.L4Len > len(frame) || p.L3+p.Length > len(frame) {
			t.Fatalf("beyond the frame: %+v (%v)", p, err)
		}
		if p.Length != 0 && p.L4+p.L4Len != p.L3+p.Length {
			t.Fatalf("transport does not end with the packet: %+v (%v)", p, err)
		}
		inside := p.SrcPort != 0 || p.DstPort != 0 || p.Type != 0 || p.Code != 0
		if inside && (p.L4 < p.L3+20 || p.L4Len < 8 || err != nil || p.Fragment.Later()) {
			t.Fatalf("transport out of nowhere: %+v (%v)", p, err)
		}
		if p.Length == 0 && err == nil && p.Src.IsValid() {
			t.Fatalf("IP without length: %+v", p)
		}
		if errors.Is(err, ErrExtension) && p.Src.Is4() && p.Next != AH {
			t.Fatalf("IPv4 has no such extension headers: %+v", p)
		}
	})
}

// FuzzParseQuote checks that nothing panics and that a quote lies within the
// message.
func FuzzParseQuote(f *testing.F) {
	exts := ip6
	exts.Extensions = []Extension{Options(HopByHop, 1), FragmentHeader(0, false, 1), AuthHeader(2)}
	f.Add(quoting(ip4, TCP, ip4.TCP(1, 2, 0, nil), 12), true)
	f.Add(quoting(exts, UDP, exts.UDP(1, 2, nil), 0), false)
	f.Fuzz(func(t *testing.T, message []byte, v4 bool) {
		q, ok := ParseQuote(message, v4)
		if ok && (q.L4 < 28 || q.L4+8 > len(message) || q.Src.Is4() != v4 || q.Dst.Is4() != v4) {
			t.Fatalf("%+v", q)
		}
	})
}
