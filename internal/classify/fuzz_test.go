// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// FuzzCompileAny compiles sets that need not be valid: FuzzCompile only makes
// valid ones.
func FuzzCompileAny(f *testing.F) {
	f.Add([]byte("no rule"))
	f.Add(bytes.Repeat([]byte{7, 1, 3}, 900))
	f.Add(bytes.Repeat([]byte{1, 0, 2, 0, 0, 4, 1}, 300))
	f.Add(bytes.Repeat([]byte{0, 1, 1}, 200))
	f.Fuzz(func(t *testing.T, data []byte) { compileAny(t, data) })
}

// TestCompileAny keeps the fuzzer from never meeting a valid set, or only such.
func TestCompileAny(t *testing.T) {
	valid := 0
	for i := range 500 {
		data := make([]byte, 200)
		for k := range data {
			data[k] = byte((i + 1) * (k + 7) * (k + i) >> 3)
		}
		if compileAny(t, data) {
			valid++
		}
	}
	if valid < 50 || valid > 450 {
		t.Errorf("%d of 500 sets are valid", valid)
	}
}

// compileAny checks that Compile refuses what Validate refuses and nothing else,
// changes nothing, and does not care about order.
func compileAny(t *testing.T, data []byte) (valid bool) {
	set := anySet(&wild{data: data})
	refused := set.Validate()
	blob, err := Compile(set)
	if (err == nil) != (refused == nil) || (err == nil) != (len(blob) > 0) {
		t.Fatalf("Validate says %v, Compile %v and %d bytes\n%+v", refused, err, len(blob), set)
	}
	again, err2 := Compile(backwards(set))
	if (err == nil) != (err2 == nil) || !bytes.Equal(blob, again) {
		t.Fatalf("another order: %v, then %v, blobs equal: %v\n%+v", err, err2, bytes.Equal(blob, again), set)
	}
	if err == nil && len(blob) < HeaderSize {
		t.Fatalf("a blob of %d bytes", len(blob))
	}
	return err == nil
}

// backwards is the same set with every list in the other order.
func backwards(s Set) Set {
	s.VIPs, s.NATs = reversed(s.VIPs), reversed(s.NATs)
	s.Rules = reversed(s.Rules)
	for i := range s.Rules {
		r := &s.Rules[i]
		r.VIPs, r.Sources, r.Protocols = reversed(r.VIPs), reversed(r.Sources), reversed(r.Protocols)
		r.SourcePorts, r.DestinationPorts = reversed(r.SourcePorts), reversed(r.DestinationPorts)
	}
	return s
}

func reversed[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// wild hands out a fuzzer's bytes, mostly as what is right.
type wild struct{ data []byte }

func (w *wild) byte() byte {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return b
}

func (w *wild) u16() uint16 { return uint16(w.byte())<<8 | uint16(w.byte()) }

// rarely is true for one of 256 bytes, and never once they have run out.
func (w *wild) rarely() bool { return w.byte() == 255 }

func (w *wild) prefix(first byte) netip.Prefix {
	switch kind := w.byte(); {
	case kind == 255:
		return netip.Prefix{}
	case kind == 254: // any bits after the length
		a := netip.AddrFrom4([4]byte{w.byte(), w.byte(), w.byte(), w.byte()})
		return netip.PrefixFrom(a, int(w.byte()%34))
	case kind == 253:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{10: 255, 11: 255, 12: first, 15: w.byte()}), 128)
	case kind%2 == 0:
		a := netip.AddrFrom4([4]byte{first, 0, 0, w.byte() % 16})
		return netip.PrefixFrom(a, 32-int(w.byte()%8)%5).Masked()
	}
	a := netip.AddrFrom16([16]byte{0: 0x20, 1: first, 15: w.byte() % 16})
	return netip.PrefixFrom(a, 128-int(w.byte()%24)).Masked()
}

func (w *wild) protocol() uint8 {
	if w.rarely() {
		return w.byte()
	}
	return protocols[w.byte()%3]
}

func (w *wild) ports() (list []PortRange) {
	for range w.byte() % 3 {
		p := PortRange{First: w.u16()}
		p.Last = p.First
		if p.First < 60000 {
			p.Last += uint16(w.byte())
		}
		if w.rarely() {
			p.Last = w.u16()
		}
		list = append(list, p)
	}
	return list
}

func (w *wild) match() ByteMatch {
	m := ByteMatch{Protocol: w.protocol(), Offset: w.byte() % 61, Width: []uint8{1, 2, 4}[w.byte()%3]}
	if w.rarely() {
		m.Offset, m.Width = w.byte(), w.byte()
	}
	m.Mask = binary.BigEndian.Uint32([]byte{w.byte(), w.byte(), w.byte(), w.byte()})
	if !w.rarely() {
		m.Mask &= uint32(uint64(1)<<(8*min(m.Width, 4)) - 1)
	}
	m.Value = m.Mask & (uint32(w.byte()) * 0x01010101)
	return m
}

func (w *wild) rule(i int) Rule {
	r := Rule{
		Name: string(rune('a' + i)), Priority: int32(w.byte()%4) - 2, VIPs: []netip.Prefix{w.prefix(20)},
		SourcePorts: w.ports(), DestinationPorts: w.ports(), Stream: uint32(w.byte()), Flow: uint32(i + 1),
	}
	if w.rarely() {
		r.Name = ""
	}
	if w.rarely() {
		r.VIPs = nil
	}
	for range w.byte() % 3 {
		r.Sources = append(r.Sources, w.prefix(10))
	}
	for range w.byte() % 3 {
		r.Protocols = append(r.Protocols, w.protocol())
	}
	if w.byte()%8 == 7 {
		for range w.byte() % 12 {
			r.ByteMatches = append(r.ByteMatches, w.match())
		}
	}
	if w.byte()%16 == 15 {
		r.TargetPort = w.u16()
		if !w.rarely() {
			port := w.u16()
			r.DestinationPorts = []PortRange{{port, port}}
		}
	}
	return r
}

func anySet(w *wild) Set {
	s := Set{MAC: make([]byte, 6), MTU: 1500, MSSClamp: w.byte()%2 == 1}
	if w.rarely() {
		s.MAC = nil
	}
	for range w.byte() % 8 {
		s.VIPs = append(s.VIPs, w.prefix(20))
	}
	for i := range int(w.byte() % 24) {
		s.Rules = append(s.Rules, w.rule(i))
	}
	for range w.byte() % 4 {
		vip := w.prefix(20)
		if !w.rarely() {
			s.VIPs = append(s.VIPs, vip)
		}
		s.NATs = append(s.NATs, NAT{VIP: vip, Protocol: w.protocol(), Port: w.u16(), TargetPort: w.u16()})
	}
	return s
}
