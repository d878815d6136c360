// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// chain is a walk over extension headers: any of them in IPv6 (RFC 8200), only
// the authentication header (RFC 4302) in IPv4.
type chain struct {
	v4       bool
	next     uint8 // kind of the header at which the walk is
	fragment Fragmentation
}

// fragmentation4 reads an IPv4 header.
func fragmentation4(b []byte) Fragmentation {
	field := binary.BigEndian.Uint16(b[6:])
	return Fragmentation{
		Offset: int(field&0x1fff) * 8, More: field&FragmentMF != 0,
		ID: uint32(binary.BigEndian.Uint16(b[4:])),
	}
}

// walk steps over at most limit headers and returns what follows them. Of
// several fragment headers the last that is not atomic counts.
func (c *chain) walk(b []byte, limit int) ([]byte, error) {
	for n := 0; c.extends(); n++ {
		if n == limit {
			return b, ErrExtension
		}
		if len(b) < 8 { // the shortest of every kind
			return b, ErrTransport
		}
		size := 8
		switch c.next {
		case Fragment:
			field := binary.BigEndian.Uint16(b[2:])
			if f := (Fragmentation{Offset: int(field &^ 7), More: field&1 != 0}); f != (Fragmentation{}) {
				f.ID = binary.BigEndian.Uint32(b[4:])
				c.fragment = f
			}
		case AH:
			size = 4 * (int(b[1]) + 2)
		case Routing:
			if b[3] != 0 { // segments left: the destination is not the last
				return b, ErrExtension
			}
			size += 8 * int(b[1])
		default:
			size += 8 * int(b[1])
		}
		if size > len(b) {
			return b, ErrTransport
		}
		c.next, b = b[0], b[size:]
	}
	return b, nil
}

// extends says that an extension header comes next.
func (c *chain) extends() bool {
	if c.fragment.Later() {
		return false
	}
	switch c.next {
	case AH:
		return true
	case HopByHop, Routing, DstOptions, Fragment:
		return !c.v4
	}
	return false
}
