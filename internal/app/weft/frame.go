// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/packet"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// sender is the source MAC of frames that are made up.
var sender = packet.MAC{0x02, 0x57, 0x45, 0x46, 0x54, 0x01}

// crafted is a packet as the command line describes it.
type crafted struct {
	src, dst     string
	proto        string
	sport, dport uint16
	payload      string // hexadecimal
	flags        string
	ttl          uint8
	vlan         int // -1: the replica's
	length       int // of the IP packet
}

// fields are the flags that describe a packet and make no sense beside --pcap.
var fields = []string{"src", "dst", "proto", "sport", "dport", "payload", "flags", "ttl", "vlan", "length"}

// frame builds the packet as the interface of a replica receives it.
func (c crafted) frame(r *balancerv1.Replica) ([]byte, error) {
	ip := packet.IP{TTL: c.ttl}
	var err error
	if ip.Src, err = parseAddress("--src", c.src); err != nil {
		return nil, err
	}
	if ip.Dst, err = parseAddress("--dst", c.dst); err != nil {
		return nil, err
	}
	if ip.Src.Is4() != ip.Dst.Is4() {
		return nil, cli.Usagef("--src %s and --dst %s are not of the same IP version", ip.Src, ip.Dst)
	}
	if c.ttl == 0 {
		return nil, cli.Usagef("--ttl: must be 1 to 255")
	}
	proto, transport, err := c.transport(ip)
	if err != nil {
		return nil, err
	}
	eth := packet.Ethernet{Src: sender}
	copy(eth.Dst[:], r.GetMac())
	vlan := c.vlan
	if vlan < 0 {
		vlan = int(r.GetVlan())
	}
	if vlan > 4094 {
		return nil, cli.Usagef("--vlan %d is not within 0 to 4094", vlan)
	}
	if vlan > 0 {
		eth.Tags = []packet.Tag{{TCI: uint16(vlan)}}
	}
	return ip.Packet(eth, proto, transport), nil
}

func parseAddress(flag, s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, cli.Usagef("%s is needed (or --pcap with packets)", flag)
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, cli.Usagef("%s %q is not an IPv4 or IPv6 address", flag, s)
	}
	return a, nil
}

// transport builds what follows the IP header, at the wanted length.
func (c crafted) transport(ip packet.IP) (proto uint8, b []byte, err error) {
	payload, err := hex.DecodeString(strings.NewReplacer(" ", "", ":", "").Replace(c.payload))
	if err != nil {
		return 0, nil, cli.Usagef("--payload %q is not hexadecimal: %v", c.payload, err)
	}
	flags, err := inspect.ParseFlags(c.flags)
	if err != nil {
		return 0, nil, cli.Usagef("--flags: %w", err)
	}
	build := func(payload []byte) []byte {
		switch c.proto {
		case "tcp":
			proto, b = packet.TCP, ip.TCP(c.sport, c.dport, flags, payload)
		case "udp":
			proto, b = packet.UDP, ip.UDP(c.sport, c.dport, payload)
		case "sctp":
			proto, b = packet.SCTP, ip.SCTP(c.sport, c.dport, payload)
		case "icmp", "icmpv6":
			request := packet.EchoRequestV4
			if !ip.Src.Is4() {
				request = packet.EchoRequestV6
			}
			proto, b = ip.ICMP(request, 0, append([]byte{0x57, 0x46, 0, 1}, payload...))
		}
		return b
	}
	if build(payload) == nil {
		return 0, nil, cli.Usagef("--proto %q is not tcp, udp, sctp or icmp; use --pcap for other packets", c.proto)
	}
	header := 40
	if ip.Src.Is4() {
		header = 20
	}
	if c.length == 0 {
		return proto, b, nil
	}
	missing := c.length - header - len(b)
	if missing < 0 || c.length > 65535 {
		return 0, nil, cli.Usagef("--length %d is not within %d (headers and payload) to 65535", c.length, header+len(b))
	}
	return proto, build(append(payload, make([]byte, missing)...)), nil
}
