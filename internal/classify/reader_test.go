// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// reader looks packets up in a blob, as bpf/lib/classify.h does.
type reader struct {
	b []byte
	header
}

func newReader(b []byte) (*reader, error) {
	r := &reader{b: b}
	return r, binary.Read(bytes.NewReader(b), binary.LittleEndian, &r.header)
}

func (r *reader) u16(at uint32) uint16 { return binary.LittleEndian.Uint16(r.b[at:]) }
func (r *reader) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(r.b[at:]) }
func (r *reader) u64(at uint32) uint64 { return binary.LittleEndian.Uint64(r.b[at:]) }

// prefix returns the offset of the slot of the longest prefix, or 0.
func (r *reader) prefix(set prefixes, a netip.Addr) uint32 {
	first, n := uint32(0), uint32(set.N4)
	if a.Is6() {
		first, n = n, uint32(set.N6)
	}
	hi, lo := words(a)
	for i := first; i < first+n; i++ {
		h, l := hi&r.u64(set.Masks+16*i), lo&r.u64(set.Masks+16*i+8)
		at := uint32(((h*hashMul ^ l) + uint64(i+1)) * set.Seed >> set.Shift)
		for probe := range uint32(probes) {
			slot := set.Table + (at+probe)*slotSize
			if uint32(r.u16(slot+16)) == i+1 && r.u64(slot) == h && r.u64(slot+8) == l {
				return slot
			}
		}
	}
	return 0
}

func (r *reader) source(a netip.Addr) uint32 {
	if a.Is6() {
		if slot := r.prefix(r.Sources6, a); slot != 0 {
			return r.u32(slot + 20)
		}
		return 0
	}
	e := r.SourceTrie
	for _, octet := range a.As4() {
		if e = r.u32(e + 4*uint32(octet)); e&trieChild == 0 {
			break
		}
		e &^= trieChild
	}
	return e
}

func (r *reader) port(table uint32, port uint16) uint32 {
	return uint32(r.u16(r.u32(table+4*uint32(port>>8)) + 2*uint32(port&255)))
}

// tuple is what a packet is classified by.
type tuple struct {
	src, dst     netip.Addr
	sport, dport uint16
	proto        uint8
	header       []byte // L4
}

// stream returns the stream of the best rule, or -1. Summaries must not hide
// a match, so that they are honoured here.
func (r *reader) stream(t tuple) int {
	slot := r.prefix(r.VIPs, t.dst)
	if slot == 0 {
		return -1
	}
	rows := []uint32{r.SourceRows, r.SourcePortRows, r.DestinationPortRows, r.ProtocolRows}
	if r.Fields&fieldSource != 0 {
		rows[0] += r.RowBytes * r.source(t.src)
	}
	if r.Fields&fieldSourcePort != 0 {
		rows[1] += r.RowBytes * r.port(r.SourcePortTable, t.sport)
	}
	if r.Fields&fieldDestinationPort != 0 {
		rows[2] += r.RowBytes * r.port(r.DestinationPortTable, t.dport)
	}
	rows[3] += r.RowBytes * uint32(slices.Index(protocols[:], t.proto))
	vip, first, count := r.u32(slot+20), r.u32(slot+24), r.u32(slot+28)
	for w := first; w < first+count; w++ {
		own := r.u64(vip - 8*((first+count-1)/64-w/64+1))
		word := r.u64(vip + 8*(w-first))
		summary := count == 1 || own>>(w%64)&1 != 0
		for _, row := range rows {
			summary = summary && r.u64(row+8*(w/64))>>(w%64)&1 != 0
			word &= r.u64(row + r.RowSums + 8*w)
		}
		for ; summary && word != 0; word &= word - 1 {
			rule := r.Rules + ruleSize*(64*w+uint32(bits.TrailingZeros64(word)))
			if r.matches(r.u32(rule+4), t) {
				return int(r.u32(rule))
			}
		}
	}
	return -1
}

func (r *reader) matches(at uint32, t tuple) bool {
	for ; at != 0; at += 12 {
		mask, value, m := r.u32(at), r.u32(at+4), r.b[at+8:]
		if protocols[m[0]] == t.proto {
			var load [4]byte
			if int(m[1])+int(m[2]) > len(t.header) {
				return false
			}
			copy(load[:m[2]], t.header[m[1]:])
			if binary.LittleEndian.Uint32(load[:])&mask != value {
				return false
			}
		}
		if m[3] != 0 {
			break
		}
	}
	return true
}
