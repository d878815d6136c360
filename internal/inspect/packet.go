// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-project/weft/internal/packet"
)

// Packet is a summary of a frame; what it does not have is zero.
type Packet struct {
	SourceMAC, DestinationMAC   net.HardwareAddr
	VLANs                       []uint16
	Network                     string // "IPv4", "IPv6", "ARP" or the ethertype
	Source, Destination         netip.Addr
	Protocol                    string
	SourcePort, DestinationPort uint16
	TTL                         uint8
	Length                      int // of the frame
	Details                     string
}

var protocolNames = map[uint8]string{
	packet.TCP: "tcp", packet.UDP: "udp", packet.SCTP: "sctp", packet.ICMP: "icmp", packet.ICMPv6: "icmpv6",
}

// ProtocolName returns the name of an IP protocol, or its number.
func ProtocolName(proto uint8) string {
	if name := protocolNames[proto]; name != "" {
		return name
	}
	return strconv.Itoa(int(proto))
}

// ParseProtocol is the opposite of ProtocolName.
func ParseProtocol(s string) (uint8, error) {
	for proto, name := range protocolNames {
		if strings.EqualFold(s, name) {
			return proto, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is neither tcp, udp, sctp, icmp, icmpv6 nor a number from 1 to 255", s)
	}
	return uint8(n), nil
}

// Summarize describes a frame.
func Summarize(frame []byte) Packet {
	p, err := packet.Parse(frame)
	return summarize(frame, p, err)
}

func summarize(frame []byte, p packet.Packet, err error) Packet {
	s := Packet{
		SourceMAC: p.Ethernet.Src[:], DestinationMAC: p.Ethernet.Dst[:], Length: len(frame),
		Source: p.Src, Destination: p.Dst, TTL: p.TTL, SourcePort: p.SrcPort, DestinationPort: p.DstPort,
	}
	for _, t := range p.Tags {
		s.VLANs = append(s.VLANs, t.TCI&0xfff)
	}
	switch p.EtherType {
	case packet.EtherIPv4, packet.EtherIPv6:
		s.Network = map[uint16]string{packet.EtherIPv4: "IPv4", packet.EtherIPv6: "IPv6"}[p.EtherType]
		if p.Src.IsValid() {
			s.Protocol = ProtocolName(p.Proto)
		}
	case packet.EtherARP:
		s.Network = "ARP"
		if p.ARP != nil {
			s.Source, s.Destination = p.ARP.SenderIP, p.ARP.TargetIP
		}
	default:
		s.Network = fmt.Sprintf("%#04x", p.EtherType)
	}
	var details []string
	if err != nil {
		details = append(details, err.Error())
	} else {
		details = transportDetails(frame, p)
	}
	switch {
	case p.Fragment.Later():
		details = append(details, fmt.Sprintf("later fragment at %d", p.Fragment.Offset))
	case p.Fragment.First():
		details = append(details, "first fragment")
	}
	s.Details = strings.Join(details, ", ")
	return s
}

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// ParseFlags returns TCP flags as their names, separated by commas, say.
func ParseFlags(s string) (flags uint8, err error) {
	for _, name := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == '+' }) {
		found := false
		for bit, known := range flagNames {
			if strings.EqualFold(name, known) {
				flags, found = flags|1<<bit, true
			}
		}
		if !found {
			return 0, fmt.Errorf("there is no TCP flag %q; there are %s", name, strings.Join(flagNames[:], ", "))
		}
	}
	return flags, nil
}

func transportDetails(frame []byte, p packet.Packet) []string {
	if p.Fragment.Later() || p.L4Len == 0 || p.L4 >= len(frame) {
		return nil
	}
	switch p.Proto {
	case packet.TCP:
		var set []string
		for bit, name := range flagNames {
			if frame[p.L4+13]&(1<<bit) != 0 {
				set = append(set, name)
			}
		}
		if set == nil {
			return nil
		}
		return []string{strings.Join(set, "+")}
	case packet.ICMP, packet.ICMPv6:
		return []string{icmpDetails(p)}
	}
	return nil
}

func icmpDetails(p packet.Packet) string {
	name := map[[2]uint8]string{
		{packet.ICMP, packet.EchoRequestV4}: "echo request", {packet.ICMPv6, packet.EchoRequestV6}: "echo request",
		{packet.ICMP, packet.EchoReplyV4}: "echo reply", {packet.ICMPv6, packet.EchoReplyV6}: "echo reply",
		{packet.ICMP, packet.UnreachableV4}: "unreachable", {packet.ICMPv6, packet.UnreachableV6}: "unreachable",
		{packet.ICMP, packet.TimeExceededV4}: "time exceeded", {packet.ICMPv6, packet.TimeExceededV6}: "time exceeded",
		{packet.ICMP, packet.ParameterProblemV4}: "parameter problem", {packet.ICMPv6, packet.ParameterProblemV6}: "parameter problem",
		{packet.ICMPv6, packet.TooBigV6}: "packet too big",
	}[[2]uint8{p.Proto, p.Type}]
	if name == "" {
		name = "type"
	}
	return fmt.Sprintf("%s (%d/%d)", name, p.Type, p.Code)
}
