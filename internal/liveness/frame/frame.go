// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The numbers of the wire.
const (
	ControlVNI = 0xFFFFFE // of probes and their replies
	EtherType  = 0x88B5
	Magic      = 0x57454654
	Version    = 1
	Len        = vxlanLen + ethernetLen + payloadLen
)

const (
	vxlanLen    = 8
	ethernetLen = 14
	payloadLen  = 16
	vniValid    = 0x08 // the I flag of VXLAN
)

// Type is the type of a control frame.
type Type uint8

// The types.
const (
	Probe Type = iota + 1
	ProbeReply
	State
	StateAck
)

// Flags are the flags of a state.
type Flags uint8

// The flags.
const (
	Up      Flags = 1 << iota // the sender's end has carrier
	Ask                       // the receiver shall tell its state
	Unknown                   // the sender does not know its state yet, Up says nothing
)

// Frame is a control frame.
type Frame struct {
	VNI   uint32
	Type  Type
	Flags Flags
	Nonce uint64
}

// ErrMalformed says that bytes are no control frame.
var ErrMalformed = errors.New("malformed control frame")

// The MAC addresses only have to differ from those of the VXLAN devices: the
// kernel drops frames whose source is the receiving device's own.
var (
	destination = [6]byte{0x02, 0x57, 0x45, 0x46, 0x54, 0x02}
	source      = [6]byte{0x02, 0x57, 0x45, 0x46, 0x54, 0x03}
)

// Append appends the datagram, from the VXLAN header on.
func (f Frame) Append(b []byte) []byte {
	b = append(b, vniValid, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, f.VNI<<8)
	b = append(b, destination[:]...)
	b = append(b, source[:]...)
	b = binary.BigEndian.AppendUint16(b, EtherType)
	b = binary.BigEndian.AppendUint32(b, Magic)
	b = append(b, Version, byte(f.Type), byte(f.Flags), 0)
	return binary.BigEndian.AppendUint64(b, f.Nonce)
}

// Parse reads a datagram, from the VXLAN header on. Bytes after the frame are
// padding. The MAC addresses do not matter.
func Parse(b []byte) (Frame, error) {
	if len(b) < Len {
		return Frame{}, fmt.Errorf("%w: %d bytes, not %d", ErrMalformed, len(b), Len)
	}
	if b[0]&vniValid == 0 {
		return Frame{}, fmt.Errorf("%w: VXLAN flags %#x without VNI", ErrMalformed, b[0])
	}
	vni := binary.BigEndian.Uint32(b[4:]) >> 8
	ethernet := b[vxlanLen:]
	if t := binary.BigEndian.Uint16(ethernet[12:]); t != EtherType {
		return Frame{}, fmt.Errorf("%w: ethertype %#04x", ErrMalformed, t)
	}
	payload := ethernet[ethernetLen:]
	f := Frame{VNI: vni, Type: Type(payload[5]), Flags: Flags(payload[6]), Nonce: binary.BigEndian.Uint64(payload[8:])}
	switch magic := binary.BigEndian.Uint32(payload); {
	case magic != Magic:
		return Frame{}, fmt.Errorf("%w: magic %#08x", ErrMalformed, magic)
	case payload[4] != Version:
		return Frame{}, fmt.Errorf("%w: version %d", ErrMalformed, payload[4])
	case f.Type < Probe || f.Type > StateAck:
		return Frame{}, fmt.Errorf("%w: type %d", ErrMalformed, f.Type)
	case (f.Type <= ProbeReply) != (vni == ControlVNI):
		return Frame{}, fmt.Errorf("%w: type %d in VNI %#x", ErrMalformed, f.Type, vni)
	}
	return f, nil
}
