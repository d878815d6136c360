// SPDX-License-Identifier: Apache-2.0

package classify

import "encoding/binary"

// bitset is a row of rule bits, 64 to a word.
type bitset []uint64

func (b bitset) set(i int)   { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int) { b[i/64] &^= 1 << (i % 64) }

func (b bitset) bytes() []byte {
	buf := make([]byte, 0, 8*len(b))
	for _, w := range b {
		buf = binary.LittleEndian.AppendUint64(buf, w)
	}
	return buf
}

// summary has bit i set when word i of b is not empty.
func (b bitset) summary() bitset {
	s := make(bitset, (len(b)+63)/64)
	for i, w := range b {
		if w != 0 {
			s.set(i)
		}
	}
	return s
}

// rows numbers the distinct rows of a field: its equivalence classes.
type rows struct {
	class map[string]uint32
	list  []bitset
}

// add returns the class of the row; it keeps a copy when the row is new.
func (r *rows) add(row bitset) uint32 {
	key := string(row.bytes())
	if c, ok := r.class[key]; ok {
		return c
	}
	if r.class == nil {
		r.class = make(map[string]uint32)
	}
	c := uint32(len(r.list))
	r.class[key] = c
	r.list = append(r.list, append(bitset(nil), row...))
	return c
}
