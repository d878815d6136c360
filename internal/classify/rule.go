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
	MaxByteMatches = 10 // per rule
	MaxByteOffset  = 60 // of a byte match
	MaxNATs        = 1 << 14
	MaxGateways    = 64 // that replies of one IP version are spread over
	MaxSize        = 1 << 28
)

// PortRange is First to Last, both included.
type PortRange struct{ First, Last uint16 }

// ByteMatch compares Width (1, 2 or 4) bytes at Offset (0 to MaxByteOffset)
// from the start of the L4 header, in network order: bytes & Mask == Value.
// Mask 0 means all bits. A packet that ends before the bytes does not match. It
// says nothing about packets of another Protocol.
type ByteMatch struct {
	Protocol      uint8
	Offset, Width uint8
	Mask, Value   uint32
}

// Rule sends the packets that it matches to Stream. Empty Sources, ports or
// Protocols match any. The rule with the highest Priority wins; among equals
// the one whose Name sorts first.
//
// TargetPort, if it is not 0, is the destination port that targets see instead
// of the rule's only destination port; replies are translated back.
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
	Flow             uint32 // number of the rule's counters
	TargetPort       uint16
}

// NAT translates a destination port of a VIP: whatever is sent to Port, by
// whichever rule, reaches the target at TargetPort, unless the rule has a
// TargetPort of its own; replies are translated back.
type NAT struct {
	VIP              netip.Prefix
	Protocol         uint8
	Port, TargetPort uint16
}

// Set is everything that one blob holds. An address is a VIP when VIPs contains
// it; a rule's VIP outside VIPs has no effect.
type Set struct {
	VIPs     []netip.Prefix
	Rules    []Rule
	NATs     []NAT
	MAC      net.HardwareAddr // of the external interface
	MTU      uint16           // of the external interface; 0: unlimited
	MSSClamp bool             // lower the MSS option of TCP SYNs to what fits the MTUs
}
