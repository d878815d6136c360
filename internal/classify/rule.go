// SPDX-License-Identifier: Apache-2.0

package classify

import (
	"net"
	"net/netip"
)

// IP protocols that rules can name.
const (
	TCP  uint8 = 6
	UDP  uint8 = 17
	SCTP uint8 = 132
)

// Limits of a rule set.
const (
	MaxRules       = 1 << 14
	MaxByteMatches = 16 // per rule
	MaxGateways    = 64 // per address family
	MaxSize        = 1 << 28
)

// PortRange is First to Last, both included.
type PortRange struct{ First, Last uint16 }

// ByteMatch compares Width (1, 2 or 4) bytes at Offset of the fixed part of
// the L4 header, in network order: header & Mask == Value. Mask 0 means all
// bits. It says nothing about packets of another Protocol.
type ByteMatch struct {
	Protocol      uint8
	Offset, Width uint8
	Mask, Value   uint32
}

// Rule sends the packets that it matches to Stream. Empty Sources, ports or
// Protocols match any. The rule with the highest Priority wins; among equals
// the one whose Name sorts first.
type Rule struct {
	Name             string
	Priority         int32
	VIPs             []netip.Prefix
	Sources          []netip.Prefix
	SourcePorts      []PortRange
	DestinationPorts []PortRange
	Protocols        []uint8
	ByteMatches      []ByteMatch
	Stream           uint32
}

// Set is everything that one blob holds. An address is a VIP when VIPs contains
// it; a rule's VIP outside VIPs has no effect.
type Set struct {
	VIPs     []netip.Prefix
	Rules    []Rule
	Gateways []netip.Addr
	MAC      net.HardwareAddr // of the external interface
}
