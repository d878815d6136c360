// SPDX-License-Identifier: Apache-2.0

package lb

import "fmt"

// Reason says why a packet left the program the way it did. Every packet
// counts for exactly one.
type Reason uint32

// Reasons, as in enum lb_reason.
const (
	Forwarded         = Reason(bpfLbReasonLB_FORWARDED)          // to a target
	FragmentForwarded = Reason(bpfLbReasonLB_FRAGMENT_FORWARDED) // a later fragment, to the target of the first
	ICMPForwarded     = Reason(bpfLbReasonLB_ICMP_FORWARDED)     // an error, to the target of the packet it quotes
	ReplyForwarded    = Reason(bpfLbReasonLB_REPLY_FORWARDED)    // from a target to a gateway
	ARPAnswered       = Reason(bpfLbReasonLB_ARP_ANSWERED)
	NDAnswered        = Reason(bpfLbReasonLB_ND_ANSWERED)
	EchoAnswered      = Reason(bpfLbReasonLB_ECHO_ANSWERED)

	FragmentParked = Reason(bpfLbReasonLB_FRAGMENT_PARKED) // held by the slow path until the first one has come
	Fragmented     = Reason(bpfLbReasonLB_FRAGMENTED)      // to be cut by the slow path

	PassNotIP   = Reason(bpfLbReasonLB_PASS_NOT_IP)   // another ethertype
	PassVLAN    = Reason(bpfLbReasonLB_PASS_VLAN)     // another VLAN
	PassNotHost = Reason(bpfLbReasonLB_PASS_NOT_HOST) // for another link-layer address
	PassARP     = Reason(bpfLbReasonLB_PASS_ARP)      // ARP, but no request for a VIP
	PassNotVIP  = Reason(bpfLbReasonLB_PASS_NOT_VIP)  // destination is no VIP
	PassReply   = Reason(bpfLbReasonLB_PASS_REPLY)    // from a leg, source is no VIP

	DropMalformed = Reason(bpfLbReasonLB_DROP_MALFORMED)
	DropNoFlow    = Reason(bpfLbReasonLB_DROP_NO_FLOW)    // no rule of the VIP matches
	DropNoTarget  = Reason(bpfLbReasonLB_DROP_NO_TARGET)  // the stream has no target for the flow
	DropTTL       = Reason(bpfLbReasonLB_DROP_TTL)        // TTL or hop limit used up
	DropTooBig    = Reason(bpfLbReasonLB_DROP_TOO_BIG)    // for the next link, and must not be cut
	DropFragment  = Reason(bpfLbReasonLB_DROP_FRAGMENT)   // of a packet whose first fragment is not known
	DropICMP      = Reason(bpfLbReasonLB_DROP_ICMP)       // neither echo nor about a packet of a target
	DropProtocol  = Reason(bpfLbReasonLB_DROP_PROTOCOL)   // neither TCP, UDP, SCTP nor ICMP
	DropExtension = Reason(bpfLbReasonLB_DROP_EXTENSION)  // IPv6 extension headers beyond the walk
	DropNAT       = Reason(bpfLbReasonLB_DROP_NAT)        // an SCTP fragment whose port would be translated
	DropNoGateway = Reason(bpfLbReasonLB_DROP_NO_GATEWAY) // reply without a gateway of its family
	DropNoRoute   = Reason(bpfLbReasonLB_DROP_NO_ROUTE)   // reply that the routing table has go nowhere
	DropInternal  = Reason(bpfLbReasonLB_DROP_INTERNAL)   // the kernel refused what it should not

	reasons = Reason(bpfLbReasonLB_REASONS)
)

var reasonNames = [reasons]string{
	Forwarded:         "forwarded",
	FragmentForwarded: "fragment_forwarded",
	ICMPForwarded:     "icmp_forwarded",
	EchoAnswered:      "echo_answered",
	FragmentParked:    "fragment_parked",
	Fragmented:        "fragmented",
	DropTooBig:        "too_big",
	DropNAT:           "nat",
	ReplyForwarded:    "reply_forwarded",
	ARPAnswered:       "arp_answered",
	NDAnswered:        "nd_answered",
	PassNotIP:         "pass_not_ip",
	PassVLAN:          "pass_vlan",
	PassNotHost:       "pass_not_host",
	PassARP:           "pass_arp",
	PassNotVIP:        "pass_not_vip",
	PassReply:         "pass_reply",
	DropMalformed:     "malformed",
	DropNoFlow:        "no_flow",
	DropNoTarget:      "no_target",
	DropTTL:           "ttl_expired",
	DropFragment:      "fragment",
	DropICMP:          "icmp",
	DropProtocol:      "protocol",
	DropExtension:     "extension_headers",
	DropNoGateway:     "no_gateway",
	DropNoRoute:       "no_route",
	DropInternal:      "internal",
}

// String is the name in metrics.
func (r Reason) String() string {
	if r < reasons && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// Drop says that the packet was dropped.
func (r Reason) Drop() bool { return r >= DropMalformed && r < reasons }
