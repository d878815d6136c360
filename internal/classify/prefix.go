// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// nested is a prefix with the index of the longest other prefix around it, or
// -1. A slice of them is sorted so that parents come first.
type nested struct {
	netip.Prefix
	parent int
}

func nest(set map[netip.Prefix]bool) []nested {
	list := make([]nested, 0, len(set))
	for p := range set {
		list = append(list, nested{Prefix: p, parent: -1})
	}
	slices.SortFunc(list, func(a, b nested) int { return comparePrefix(a.Prefix, b.Prefix) })
	var around []int // the chain of prefixes around the current one
	for i := range list {
		for len(around) > 0 && !list[around[len(around)-1]].Contains(list[i].Addr()) {
			around = around[:len(around)-1]
		}
		if len(around) > 0 {
			list[i].parent = around[len(around)-1]
		}
		around = append(around, i)
	}
	return list
}

// comparePrefix puts a prefix before those that it contains.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// words returns the address as the program loads it: two little-endian words
// of network order bytes, an IPv4 address v4-mapped.
func words(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	if a.Is4() {
		return 0, binary.LittleEndian.Uint64(b[8:])
	}
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
}

func maskWords(f, bits int) (hi, lo uint64) {
	if f == 0 {
		bits += 96
	}
	var b [16]byte
	for i := range bits {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
}

// slot is what a table knows of a key.
type slot struct {
	value, first, count uint32
	nat                 uint16
}

// key is what a table is searched for: a prefix and the number of its length.
type key struct {
	hi, lo uint64
	tag    uint32
}

// Constants of the hash of tables, as in bpf/lib/classify.h.
const (
	hashMul  = 0xbf58476d1ce4e5b9
	hashSeed = 0x94d049bb133111eb
	probes   = 4 // slots that a lookup looks at
	maxShift = 24
)

// prefixTable writes masks and hash table and returns their header.
func (b *blob) prefixTable(entries map[netip.Prefix]slot) (prefixes, error) {
	var lengths [2][]int
	for p := range entries {
		f := family(p.Addr())
		if !slices.Contains(lengths[f], p.Bits()) {
			lengths[f] = append(lengths[f], p.Bits())
		}
	}
	h := prefixes{N4: uint16(len(lengths[0])), N6: uint16(len(lengths[1])), Masks: b.align(8)}
	tag := make(map[[2]int]uint32)
	for f := range lengths {
		slices.SortFunc(lengths[f], func(a, b int) int { return b - a })
		for _, bits := range lengths[f] {
			tag[[2]int{f, bits}] = uint32(len(tag) + 1)
			b.u64(maskWords(f, bits))
		}
	}
	sorted := make([]netip.Prefix, 0, len(entries))
	for p := range entries {
		sorted = append(sorted, p)
	}
	slices.SortFunc(sorted, comparePrefix)
	keys, slots := make([]key, len(sorted)), make([]slot, len(sorted))
	for i, p := range sorted {
		hi, lo := words(p.Addr())
		keys[i] = key{hi, lo, tag[[2]int{family(p.Addr()), p.Bits()}]}
		slots[i] = entries[p]
	}
	err := b.table(&h, keys, slots)
	return h, err
}

// table writes the hash table that belongs to h.
func (b *blob) table(h *prefixes, keys []key, slots []slot) error {
	table, shift, seed := place(keys)
	if table == nil {
		return fmt.Errorf("no hash table for %d keys", len(keys))
	}
	h.Shift, h.Seed, h.Table = 64-shift, seed, b.align(64)
	for _, i := range table {
		if i < 0 {
			b.grow(slotSize)
			continue
		}
		s := slots[i]
		b.u64(keys[i].hi, keys[i].lo)
		b.u16(uint16(keys[i].tag), s.nat)
		b.u32(s.value, s.first, s.count)
	}
	return nil
}

// place finds a size and seed with which every key is found within the first
// probes slots, and returns the index of the key in each slot (-1: empty).
func place(keys []key) (table []int, shift uint32, seed uint64) {
	shift = 1
	for 1<<shift < 2*len(keys) {
		shift++
	}
	for ; shift <= maxShift; shift++ {
		seed = hashSeed
		for range 8 {
			if table = tryPlace(keys, shift, seed); table != nil {
				return table, shift, seed
			}
			seed = (seed*hashMul + 0x9e3779b97f4a7c15) | 1
		}
	}
	return nil, 0, 0
}

func tryPlace(keys []key, shift uint32, seed uint64) []int {
	table := make([]int, 1<<shift+probes)
	for i := range table {
		table[i] = -1
	}
next:
	for i, k := range keys {
		at := ((k.hi*hashMul ^ k.lo) + uint64(k.tag)) * seed >> (64 - shift)
		for n := range uint64(probes) {
			if table[at+n] < 0 {
				table[at+n] = i
				continue next
			}
		}
		return nil
	}
	return table
}
