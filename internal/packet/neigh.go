// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// ARP operations.
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

// ARP is an Ethernet and IPv4 ARP message.
type ARP struct {
	Op                   uint16
	SenderMAC, TargetMAC MAC
	SenderIP, TargetIP   netip.Addr
}

// Frame builds the frame of the message.
func (a ARP) Frame(eth Ethernet) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, a.Op)
	b = append(append(b, a.SenderMAC[:]...), a.SenderIP.AsSlice()...)
	b = append(append(b, a.TargetMAC[:]...), a.TargetIP.AsSlice()...)
	return eth.Frame(EtherARP, b)
}

// Neighbour discovery (RFC 4861).
const (
	NDSolicitation  uint8  = 135
	NDAdvertisement uint8  = 136
	NDSolicited     uint32 = 1 << 30
	NDOverride      uint32 = 1 << 29
	NDSourceMAC     uint8  = 1 // option
	NDTargetMAC     uint8  = 2 // option
	NDNonce         uint8  = 14
)

// NDOption is an 8-byte neighbour discovery option.
type NDOption struct {
	Type uint8
	Data [6]byte
}

// ND is a neighbour solicitation or advertisement.
type ND struct {
	Type    uint8
	Flags   uint32
	Target  netip.Addr
	Options []NDOption
}

// Frame builds the frame; hop limit 0 means 255, as the protocol demands.
func (n ND) Frame(eth Ethernet, ip IP) []byte {
	if ip.TTL == 0 {
		ip.TTL = 255
	}
	rest := binary.BigEndian.AppendUint32(nil, n.Flags)
	rest = append(rest, n.Target.AsSlice()...)
	for _, o := range n.Options {
		rest = append(append(rest, o.Type, 1), o.Data[:]...)
	}
	proto, b := ip.ICMP(n.Type, 0, rest)
	return ip.Packet(eth, proto, b)
}

// SolicitedNode returns the multicast group of an address and its MAC.
func SolicitedNode(a netip.Addr) (netip.Addr, MAC) {
	b := a.As16()
	group := [16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]}
	return netip.AddrFrom16(group), MAC{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}
