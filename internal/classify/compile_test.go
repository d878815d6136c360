// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// linear is the plain meaning of the rules.
func linear(s Set, t tuple) int {
	in := func(a netip.Addr) func(netip.Prefix) bool {
		return func(p netip.Prefix) bool { return p.Contains(a) }
	}
	within := func(port uint16) func(PortRange) bool {
		return func(r PortRange) bool { return r.First <= port && port <= r.Last }
	}
	if !slices.ContainsFunc(s.VIPs, in(t.dst)) {
		return -1
	}
	var best *Rule
	for i := range s.Rules {
		r := &s.Rules[i]
		if slices.ContainsFunc(r.VIPs, in(t.dst)) &&
			(len(r.Sources) == 0 || slices.ContainsFunc(r.Sources, in(t.src))) &&
			(len(r.SourcePorts) == 0 || slices.ContainsFunc(r.SourcePorts, within(t.sport))) &&
			(len(r.DestinationPorts) == 0 || slices.ContainsFunc(r.DestinationPorts, within(t.dport))) &&
			(len(r.Protocols) == 0 || slices.Contains(r.Protocols, t.proto)) &&
			!slices.ContainsFunc(r.ByteMatches, func(m ByteMatch) bool { return contradicts(m, t) }) &&
			(best == nil || r.Priority > best.Priority || r.Priority == best.Priority && r.Name < best.Name) {
			best = r
		}
	}
	if best == nil {
		return -1
	}
	return int(best.Stream)
}

func contradicts(m ByteMatch, t tuple) bool {
	if m.Protocol != t.proto {
		return false
	}
	var v uint32
	for _, b := range t.header[m.Offset : m.Offset+m.Width] {
		v = v<<8 | uint32(b)
	}
	return v&m.mask() != m.Value
}

// source hands out choices: random ones, or those of a fuzzer.
type source struct {
	data []byte
	rand *rand.Rand
}

func (s *source) n(limit int) int {
	if s.rand != nil {
		return s.rand.IntN(limit)
	}
	var b [2]byte
	n := copy(b[:], s.data)
	s.data = s.data[n:]
	return int(binary.LittleEndian.Uint16(b[:])) % limit
}

func (s *source) addr(first byte) netip.Addr {
	if s.n(2) == 0 {
		return netip.AddrFrom4([4]byte{first, 0, byte(s.n(4)), byte(s.n(8))})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: first, 7: byte(s.n(2)), 15: byte(s.n(8))})
}

func (s *source) prefix(first byte) netip.Prefix {
	a := s.addr(first)
	return netip.PrefixFrom(a, a.BitLen()-s.n(a.BitLen()-7)*s.n(2)).Masked()
}

func (s *source) ports() (list []PortRange) {
	for range s.n(3) {
		first := s.n(65536)
		list = append(list, PortRange{uint16(first), uint16(first + s.n(min(2000, 65536-first)))})
	}
	return list
}

func (s *source) set() Set {
	set := Set{MAC: make([]byte, 6)}
	for range s.n(6) {
		set.VIPs = append(set.VIPs, s.prefix(20))
	}
	for i := range s.n(200) {
		r := Rule{Name: fmt.Sprint(i), Priority: int32(s.n(4)), Stream: uint32(i), VIPs: []netip.Prefix{s.prefix(20)}}
		if s.n(3) == 0 {
			set.VIPs = append(set.VIPs, r.VIPs[0])
		}
		for range s.n(3) {
			r.Sources = append(r.Sources, s.prefix(10))
		}
		r.SourcePorts, r.DestinationPorts = s.ports(), s.ports()
		for range s.n(3) {
			r.Protocols = append(r.Protocols, protocols[s.n(3)])
		}
		for range s.n(2) * s.n(3) {
			bit := uint32(1) << s.n(8)
			r.ByteMatches = append(r.ByteMatches, ByteMatch{
				Protocol: protocols[s.n(3)], Offset: uint8(s.n(8)), Width: 1, Mask: bit, Value: bit * uint32(s.n(2)),
			})
		}
		set.Rules = append(set.Rules, r)
	}
	return set
}

func (s *source) tuple(set Set) tuple {
	t := tuple{src: s.addr(10), dst: s.addr(20), proto: protocols[s.n(3)], header: make([]byte, 20)}
	for i := range t.header {
		t.header[i] = byte(s.n(256))
	}
	t.sport, t.dport = uint16(s.n(65536)), uint16(s.n(65536))
	if len(set.Rules) > 0 { // near a rule
		r := set.Rules[s.n(len(set.Rules))]
		if len(r.SourcePorts) > 0 {
			t.sport = r.SourcePorts[0].First - 1 + uint16(s.n(3))
		}
		if len(r.DestinationPorts) > 0 {
			t.dport = r.DestinationPorts[0].Last - 1 + uint16(s.n(3))
		}
	}
	return t
}

// agree compiles a set and compares lookups with the plain meaning.
func agree(t *testing.T, s *source, tuples int) (matched int) {
	set := s.set()
	blob, err := Compile(set)
	if err != nil {
		t.Fatalf("%v\n%+v", err, set)
	}
	shuffled := set
	shuffled.Rules, shuffled.VIPs = slices.Clone(set.Rules), slices.Clone(set.VIPs)
	slices.Reverse(shuffled.Rules)
	slices.Reverse(shuffled.VIPs)
	again, err := Compile(shuffled)
	if err != nil || !bytes.Equal(blob, again) {
		t.Fatalf("another order of the same rules gives another blob (%v)", err)
	}
	r, err := newReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	for range tuples {
		tu := s.tuple(set)
		want := linear(set, tu)
		if got := r.stream(tu); got != want {
			t.Fatalf("%+v: got %d, want %d\n%+v", tu, got, want, set)
		}
		if want >= 0 {
			matched++
		}
	}
	return matched
}

func TestCompileAgrees(t *testing.T) {
	matched := 0
	for i := range uint64(300) {
		matched += agree(t, &source{rand: rand.New(rand.NewPCG(1, i))}, 200)
	}
	if matched < 5000 {
		t.Errorf("only %d packets matched a rule", matched)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte("some choices"))
	f.Add(bytes.Repeat([]byte{7, 1, 3}, 900))
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, &source{data: data}, 20) })
}

// TestManyWords has more rules than one summary word covers, and candidates in
// the last.
func TestManyWords(t *testing.T) {
	set := Set{MAC: make([]byte, 6), VIPs: []netip.Prefix{netip.MustParsePrefix("20.0.0.1/32")}}
	for i := range 10000 {
		set.Rules = append(set.Rules, Rule{
			Name: fmt.Sprintf("%05d", i), VIPs: set.VIPs, Stream: uint32(i),
			Sources: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)},
		})
	}
	blob, err := Compile(set)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		tu := tuple{src: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), dst: set.VIPs[0].Addr(), proto: UDP}
		if got := r.stream(tu); got != i {
			t.Fatalf("source %s: got stream %d", tu.src, got)
		}
	}
}

// TestSpreadIsSmall checks that rules of unrelated VIPs share words.
func TestSpreadIsSmall(t *testing.T) {
	set := Set{MAC: make([]byte, 6)}
	for i := range 640 {
		vip := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, 0, byte(i >> 8), byte(i)}), 32)
		set.VIPs = append(set.VIPs, vip)
		set.Rules = append(set.Rules, Rule{Name: fmt.Sprint(i), VIPs: []netip.Prefix{vip}, Stream: uint32(i)})
	}
	blob, err := Compile(set)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReader(blob)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint32(8 * (1 + 10)); r.RowBytes != want {
		t.Errorf("a row has %d bytes, want %d", r.RowBytes, want)
	}
	for i, vip := range set.VIPs {
		if count := r.u32(r.prefix(r.VIPs, vip.Addr()) + 28); count != 1 {
			t.Fatalf("VIP %s has %d words", vip, count)
		}
		if got := r.stream(tuple{src: vip.Addr(), dst: vip.Addr(), proto: TCP}); got != i {
			t.Fatalf("VIP %s: got stream %d", vip, got)
		}
	}
}
