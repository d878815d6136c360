// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"bytes"
	"encoding/binary"
)

// Bits of header.Fields: the fields that some rule constrains.
const (
	fieldSource = 1 << iota
	fieldSourcePort
	fieldDestinationPort
)

// Bits of header.Options.
const optionMSSClamp = 1

const (
	slotSize = 32
	ruleSize = 16
)

// HeaderSize is the size of struct lb_header.
var HeaderSize = binary.Size(header{})

// prefixes is struct lb_prefixes.
type prefixes struct {
	Seed   uint64
	Table  uint32
	Shift  uint32
	Masks  uint32
	N4, N6 uint16
}

// header is struct lb_header.
type header struct {
	Fields               uint32
	RowBytes             uint32
	RowSums              uint32
	SourceRows           uint32
	SourcePortRows       uint32
	DestinationPortRows  uint32
	ProtocolRows         uint32
	SourceTrie           uint32
	SourcePortTable      uint32
	DestinationPortTable uint32
	Rules                uint32
	Options              uint32
	VIPs                 prefixes
	Sources6             prefixes
	NATs                 prefixes
	MAC                  [6]byte
	MTU                  uint16
}

// blob is the value under construction.
type blob struct{ buf []byte }

// align pads to a multiple of n and returns the offset.
func (b *blob) align(n int) uint32 {
	b.grow((n - len(b.buf)%n) % n)
	return uint32(len(b.buf))
}

func (b *blob) grow(n int) { b.buf = append(b.buf, make([]byte, n)...) }

func (b *blob) u16(v ...uint16) {
	for _, x := range v {
		b.buf = binary.LittleEndian.AppendUint16(b.buf, x)
	}
}

func (b *blob) u32(v ...uint32) {
	for _, x := range v {
		b.buf = binary.LittleEndian.AppendUint32(b.buf, x)
	}
}

func (b *blob) u64(v ...uint64) {
	for _, x := range v {
		b.buf = binary.LittleEndian.AppendUint64(b.buf, x)
	}
}

// rows writes the rows of a field, each with its summary.
func (b *blob) rows(list []bitset) uint32 {
	at := b.align(64)
	for _, row := range list {
		b.u64(row.summary()...)
		b.u64(row...)
	}
	return at
}

func (b *blob) setHeader(h *header) error {
	var buf bytes.Buffer
	if err := binary.Write(&buf, binary.LittleEndian, h); err != nil {
		return err
	}
	copy(b.buf, buf.Bytes())
	return nil
}
