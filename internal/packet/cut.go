// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Why an IPv4 packet cannot be cut.
var (
	ErrChecksum     = errors.New("wrong header checksum")
	ErrDontFragment = errors.New("must not be fragmented")
	ErrOptions      = errors.New("malformed options")
	ErrMTU          = errors.New("MTU has no room for a header and 8 bytes")
)

// CutIPv4 cuts an IPv4 packet, which may be a fragment itself, into fragments of
// at most mtu bytes (RFC 791, section 3.2), each in a frame behind the link
// header. Only the first one keeps the options that are not to be copied. A
// packet that fits remains one. The checksums are computed anew, so a packet
// with a wrong one is refused rather than made right.
func CutIPv4(link, p []byte, mtu int) ([][]byte, error) {
	p, err := Network(p)
	if err != nil {
		return nil, err
	}
	if p[0]>>4 != 4 {
		return nil, ErrDontFragment
	}
	first, data := p[:int(p[0]&15)*4], p[int(p[0]&15)*4:]
	if Checksum(0, first) != 0 {
		return nil, ErrChecksum
	}
	if len(p) <= mtu {
		return [][]byte{slices.Concat(link, p)}, nil
	}
	field := binary.BigEndian.Uint16(p[6:])
	switch {
	case field&flagDF != 0:
		return nil, ErrDontFragment
	case int(field&offsetMask)*8+len(p) > 0xffff, // no receiver could put it together
		field&FragmentMF != 0 && len(data)%8 != 0:
		return nil, ErrLength
	case mtu < len(first)+8:
		return nil, ErrMTU
	}
	later, err := laterHeader(first)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for at := 0; at < len(data); {
		header := first
		if at > 0 {
			header = later
		}
		size, more := min(mtu-len(header), len(data)-at), field&FragmentMF
		if size < len(data)-at {
			size, more = size&^7, FragmentMF
		}
		place := field&^(FragmentMF|offsetMask) | more | (field&offsetMask + uint16(at/8))
		frames = append(frames, fragmentIPv4(link, header, data[at:at+size], place))
		at += size
	}
	return frames, nil
}

func fragmentIPv4(link, header, data []byte, place uint16) []byte {
	frame := slices.Concat(link, header, data)
	h := frame[len(link):][:len(header)]
	binary.BigEndian.PutUint16(h[2:], uint16(len(header)+len(data)))
	binary.BigEndian.PutUint16(h[6:], place)
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], Checksum(0, h))
	return frame
}

// laterHeader is the header with the options that every fragment carries: those
// whose type has the copied bit.
func laterHeader(first []byte) ([]byte, error) {
	h := slices.Clone(first[:ipv4Len])
	for o := first[ipv4Len:]; len(o) > 0 && o[0] != 0; {
		if o[0] == 1 { // no operation, a single byte
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return nil, ErrOptions
		}
		if o[0]&0x80 != 0 {
			h = append(h, o[:o[1]]...)
		}
		o = o[o[1]:]
	}
	h = append(h, make([]byte, (4-len(h)%4)%4)...) // end of options
	h[0] = 0x40 | byte(len(h)/4)
	return h, nil
}
