// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"encoding/binary"
	"time"
)

const (
	version      = 1
	headerLength = 24
	// MaxLength of a packet, by its field.
	MaxLength = 255
)

// Packet is a control packet (RFC 5880, 4.1).
type Packet struct {
	Diag  Diagnostic
	State State
	Poll  bool
	Final bool
	// ControlPlaneIndependent: BFD goes on while the sender's control plane
	// restarts.
	ControlPlaneIndependent bool
	Demand                  bool
	Multiplier              uint8
	MyDiscriminator         uint32
	YourDiscriminator       uint32
	// Intervals are multiples of a microsecond.
	DesiredMinTx, RequiredMinRx, RequiredMinEchoRx time.Duration
	Auth                                           Section // of type NoAuth: none
}

// flags of the second byte.
const (
	flagPoll        = 1 << 5
	flagFinal       = 1 << 4
	flagIndependent = 1 << 3
	flagAuth        = 1 << 2
	flagDemand      = 1 << 1
	flagMultipoint  = 1 << 0
)

// Decode reads a packet and discards what 6.8.6 says to discard before the
// session is known. The authentication section refers to b.
func (p *Packet) Decode(b []byte) Reason {
	if len(b) < headerLength {
		return BadLength
	}
	flags, length := b[1], int(b[3])
	minimum := headerLength
	if flags&flagAuth != 0 {
		minimum += 2
	}
	switch {
	case b[0]>>5 != version:
		return BadVersion
	case length < minimum, length > len(b):
		return BadLength
	case b[2] == 0:
		return ZeroMultiplier
	case flags&flagMultipoint != 0:
		return Multipoint
	case binary.BigEndian.Uint32(b[4:]) == 0:
		return ZeroDiscriminator
	}
	*p = Packet{
		Diag: Diagnostic(b[0] & 0x1f), State: State(flags >> 6), Poll: flags&flagPoll != 0, Final: flags&flagFinal != 0,
		ControlPlaneIndependent: flags&flagIndependent != 0, Demand: flags&flagDemand != 0, Multiplier: b[2],
		MyDiscriminator: binary.BigEndian.Uint32(b[4:]), YourDiscriminator: binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx: interval(b[12:]), RequiredMinRx: interval(b[16:]), RequiredMinEchoRx: interval(b[20:]),
	}
	if flags&flagAuth == 0 {
		return Accepted
	}
	return p.Auth.decode(b[headerLength:length])
}

// Append writes the packet behind b. A SHA1 digest is left to be signed.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range [...]struct {
		set bool
		bit byte
	}{
		{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.ControlPlaneIndependent, flagIndependent},
		{p.Auth.Type != NoAuth, flagAuth}, {p.Demand, flagDemand},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	length := headerLength + p.Auth.length()
	b = append(b, version<<5|byte(p.Diag)&0x1f, flags, p.Multiplier, byte(length))
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	for _, d := range [...]time.Duration{p.DesiredMinTx, p.RequiredMinRx, p.RequiredMinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(d/time.Microsecond))
	}
	return p.Auth.append(b)
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
