// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// What can be wrong with a frame. A Packet is filled up to there.
var (
	ErrEthernet  = errors.New("shorter than its link-layer header")
	ErrTags      = errors.New("more than two VLAN tags")
	ErrNetwork   = errors.New("shorter than its network header")
	ErrLength    = errors.New("network header contradicts itself or the frame")
	ErrExtension = errors.New("too many extension headers, or not at its last destination")
	ErrTransport = errors.New("shorter than its transport header")
)

// Bounds of the walk over IPv6 extension headers.
const (
	MaxExtensions     = 8
	MaxExtensionBytes = 160
)

// Packet is a frame taken apart.
type Packet struct {
	Ethernet
	EtherType uint16 // after the tags
	L3        int    // offset of the network header

	ARP *ARP // Ethernet and IPv4 ARP of any operation

	Src, Dst netip.Addr // valid for IP
	TTL      uint8
	Fragment bool  // not the whole packet: then no transport
	Proto    uint8 // after the extension headers
	L4       int   // offset of the transport header
	L4Len    int   // bytes from there, without link-layer padding

	SrcPort, DstPort uint16 // TCP, UDP and SCTP
}

// Parse takes a frame apart. With ErrLength, ErrExtension and ErrTransport the
// addresses are known.
func Parse(frame []byte) (p Packet, err error) {
	if len(frame) < headerLen {
		return p, ErrEthernet
	}
	copy(p.Ethernet.Dst[:], frame)
	copy(p.Ethernet.Src[:], frame[6:])
	at := 12
	for range 2 {
		proto := binary.BigEndian.Uint16(frame[at:])
		if proto != EtherVLAN && proto != EtherQinQ {
			break
		}
		if len(frame) < at+6 {
			return p, ErrEthernet
		}
		p.Tags = append(p.Tags, Tag{Proto: proto, TCI: binary.BigEndian.Uint16(frame[at+2:])})
		at += 4
	}
	p.EtherType, p.L3 = binary.BigEndian.Uint16(frame[at:]), at+2
	switch p.EtherType {
	case EtherIPv4:
		return p, p.parseIPv4(frame[p.L3:])
	case EtherIPv6:
		return p, p.parseIPv6(frame[p.L3:])
	case EtherARP:
		return p, p.parseARP(frame[p.L3:])
	case EtherVLAN, EtherQinQ:
		return p, ErrTags
	}
	return p, nil
}

func (p *Packet) parseARP(b []byte) error {
	if len(b) < 28 {
		return ErrNetwork
	}
	if [6]byte(b) != [6]byte{0, 1, 8, 0, 6, 4} {
		return nil // another kind of address
	}
	p.ARP = &ARP{
		Op:        binary.BigEndian.Uint16(b[6:]),
		SenderMAC: MAC(b[8:]), SenderIP: netip.AddrFrom4([4]byte(b[14:])),
		TargetMAC: MAC(b[18:]), TargetIP: netip.AddrFrom4([4]byte(b[24:])),
	}
	return nil
}

func (p *Packet) parseIPv4(b []byte) error {
	if len(b) < ipv4Len {
		return ErrNetwork
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	p.TTL, p.Proto = b[8], b[9]
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipv4Len || total < header || total > len(b) {
		return ErrLength
	}
	p.L4, p.L4Len = p.L3+header, total-header
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		p.Fragment = true
		return nil
	}
	return p.parseTransport(b[header:total])
}

func (p *Packet) parseIPv6(b []byte) error {
	if len(b) < ipv6Len {
		return ErrNetwork
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	p.TTL, p.Proto = b[7], b[6]
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || total > len(b) {
		return ErrLength
	}
	rest, err := p.walk(b[ipv6Len:total])
	p.L4, p.L4Len = p.L3+total-len(rest), len(rest)
	if err != nil || p.Fragment {
		return err
	}
	return p.parseTransport(rest)
}

// walk steps over the extension headers and returns what follows them.
func (p *Packet) walk(b []byte) ([]byte, error) {
	bytes := 0
	for n := 0; ; n++ {
		switch p.Proto {
		default:
			return b, nil
		case HopByHop, Routing, DstOptions, Fragment:
		}
		if n == MaxExtensions {
			return b, ErrExtension
		}
		if len(b) < 8 {
			return b, ErrTransport
		}
		size := 8
		switch {
		case p.Proto == Fragment:
			// An atomic fragment (RFC 6946) is a whole packet.
			if binary.BigEndian.Uint16(b[2:])&0xfff9 != 0 {
				p.Fragment = true
				return b, nil
			}
		case p.Proto == Routing && b[3] != 0:
			return b, ErrExtension
		default:
			size += 8 * int(b[1])
		}
		if size > len(b) {
			return b, ErrTransport
		}
		if bytes += size; bytes > MaxExtensionBytes {
			return b, ErrExtension
		}
		p.Proto, b = b[0], b[size:]
	}
}

func (p *Packet) parseTransport(b []byte) error {
	need := map[uint8]int{TCP: 20, UDP: 8, SCTP: 12}[p.Proto]
	if len(b) < need {
		return ErrTransport
	}
	if need > 0 {
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	return nil
}
