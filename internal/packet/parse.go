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

// MaxExtensions is how many extension headers are walked over.
const MaxExtensions = 8

// Packet is a frame taken apart.
type Packet struct {
	Ethernet
	EtherType uint16 // after the tags
	L3        int    // offset of the network header

	ARP *ARP // Ethernet and IPv4 ARP of any operation

	Src, Dst     netip.Addr // valid for IP
	TTL          uint8
	Length       int  // of the IP packet, by its header
	DontFragment bool // IPv4
	Fragment     Fragmentation
	Next         uint8 // protocol field of the IP header
	Proto        uint8 // after the extension headers
	L4           int   // offset of the transport header, or of a later fragment's data
	L4Len        int   // bytes from there, without link-layer padding

	SrcPort, DstPort uint16 // TCP, UDP and SCTP
	Type, Code       uint8  // ICMP and ICMPv6
}

// Fragmentation says which part of a packet an IP packet is. ID is that of the
// IPv4 header, or of the IPv6 fragment header if it is not atomic (RFC 6946).
type Fragmentation struct {
	Offset int // bytes
	More   bool
	ID     uint32
}

// First says that more fragments follow this one, which begins the packet.
func (f Fragmentation) First() bool { return f.Offset == 0 && f.More }

// Later says that this is a fragment without transport header.
func (f Fragmentation) Later() bool { return f.Offset != 0 }

// Parse takes a frame apart. With ErrLength, ErrExtension and ErrTransport the
// addresses are known, with the latter two also the fragmentation as far as the
// headers before the offending one tell.
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
	p.TTL, p.Next, p.Proto = b[8], b[9], b[9]
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipv4Len || total < header || total > len(b) {
		return ErrLength
	}
	p.Length = total
	p.DontFragment = binary.BigEndian.Uint16(b[6:])&FragmentDF != 0
	return p.parsePayload(b[:total], header, chain{v4: true, next: p.Next, fragment: fragmentation4(b)})
}

func (p *Packet) parseIPv6(b []byte) error {
	if len(b) < ipv6Len {
		return ErrNetwork
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	p.TTL, p.Next, p.Proto = b[7], b[6], b[6]
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || total > len(b) {
		return ErrLength
	}
	p.Length = total
	return p.parsePayload(b[:total], ipv6Len, chain{next: p.Next})
}

// parsePayload takes apart what follows the IP header.
func (p *Packet) parsePayload(b []byte, header int, c chain) error {
	rest, err := c.walk(b[header:], MaxExtensions)
	p.Proto, p.Fragment = c.next, c.fragment
	p.L4, p.L4Len = p.L3+len(b)-len(rest), len(rest)
	if err != nil || p.Fragment.Later() {
		return err
	}
	return p.parseTransport(rest)
}

func (p *Packet) parseTransport(b []byte) error {
	need := map[uint8]int{TCP: 20, UDP: 8, SCTP: 12}[p.Proto]
	if p.IsICMP() {
		need = 8
	}
	switch {
	case len(b) < need:
		return ErrTransport
	case p.IsICMP():
		p.Type, p.Code = b[0], b[1]
	case need > 0:
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	return nil
}

// IsICMP says that the transport is the ICMP of the packet's family.
func (p *Packet) IsICMP() bool {
	return p.Src.Is4() && p.Proto == ICMP || p.Src.Is6() && p.Proto == ICMPv6
}
