// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Action is what becomes of a packet.
type Action int

// The actions.
const (
	Sent     Action = iota + 1
	Deferred        // left to user space of the load balancer
	Passed          // left to the stack of the namespace
	Dropped
)

// Reason is a reason of the data plane in words for people.
type Reason struct {
	Name    string // in metrics
	Action  Action
	Meaning string
	Advice  string // what to do about it if it is not wanted
}

const (
	noAdvice = "Nothing: this is what should happen."
	capture  = "Capture the packet before the load balancer (tcpdump -w) and run it through \"weft trace packet --pcap\"."
)

// explained has every reason. docs/troubleshooting.md shows it as a table.
var explained = []Reason{
	{"forwarded", Sent, "Sent to the target that its flow is balanced to.",
		"If the workload does not see it, look at the workload: its interface, its policy routes, its socket."},
	{"fragment_forwarded", Sent, "A later fragment, sent to the target of the first fragment of its packet.", noAdvice},
	{"icmp_forwarded", Sent, "An ICMP error about a packet that a target has sent, forwarded to that target.", noAdvice},
	{"reply_forwarded", Sent, "An answer of a target, sent to a gateway.",
		"If the client does not get it, look at the gateway and the way back from there."},
	{"arp_answered", Sent, "An ARP request for a VIP, answered with the MAC of the external interface.", noAdvice},
	{"nd_answered", Sent, "A neighbour solicitation for a VIP, answered with the MAC of the external interface.", noAdvice},
	{"echo_answered", Sent, "A ping of a VIP, or a fragment of one, answered by the load balancer itself while a stream of the VIP has a target.", noAdvice},
	{"fragment_parked", Deferred, "A later fragment that came before the first one of its packet, held until that one has come.",
		"If many expire (weft_lb_slowpath_total), first fragments are lost or take another way: balance by addresses only before the load balancers."},
	{"fragmented", Deferred, "An IPv4 packet that is longer than the MTU of its way out and may be cut: sent in fragments.",
		"It costs a lot. Raise the MTU of the legs or lower that of the senders, or turn MSS clamping on for TCP."},
	{"pass_not_ip", Passed, "Neither IPv4, IPv6 nor ARP: left to the stack of the namespace.", noAdvice},
	{"pass_vlan", Passed, "Another VLAN than the replica's: left to the stack of the namespace.",
		"If it should be balanced, compare the VLAN of the sender with the replica's (weft up: vlan; weft-endpoint: --vlan)."},
	{"pass_not_host", Passed, "The destination MAC is not that of the external interface: left to the stack, which ignores it.",
		"The sender has a wrong neighbour entry for the VIP or for the replica; look at its routes and neighbours."},
	{"pass_arp", Passed, "ARP that is no request for a VIP: left to the stack of the namespace.", noAdvice},
	{"pass_not_vip", Passed, "The destination is no VIP of this replica: left to the stack of the namespace.",
		"If it should be one, see \"weft get vips\": a VIP counts when a flow or the attractor of the conduit names it."},
	{"pass_reply", Passed, "From a target, but its source is no VIP: left to the stack of the namespace.",
		"The workload must answer with the VIP as source. A UDP server on a wildcard address needs IP_PKTINFO for that."},
	{"malformed", Dropped, "A header is cut or contradicts itself: version, length, or too few bytes for the transport header.",
		"The sender or a device on the way builds broken packets. " + capture},
	{"no_flow", Dropped, "The destination is a VIP, but no flow of it matches the packet.",
		"\"weft trace packet\" names the first field that differs in every flow of the VIP. Change the flow, or the client."},
	{"no_target", Dropped, "A flow matches, but its stream has no target for the packet; or it is a ping, and no stream of the VIP has a target.",
		"\"weft get streams\" and \"weft attachment show --admin\": has a workload joined the stream, is it ready, is its weight more than 0?"},
	{"ttl_expired", Dropped, "The TTL or hop limit is used up; the sender is told by ICMP.",
		"Normal for traceroute. Otherwise there is a routing loop, or the sender starts with too small a TTL."},
	{"too_big", Dropped, "Longer than the MTU of its way out, and must not be cut; the sender is told by ICMP.",
		"Path MTU discovery repairs this unless ICMP is filtered on the way to the sender. Raise the MTU of the legs, or turn MSS clamping on."},
	{"fragment", Dropped, "A later fragment whose first one is not known, and which could not be held: too many are.",
		"First fragments are lost or take another way, or somebody floods. Balance by addresses only before the load balancers."},
	{"icmp", Dropped, "ICMP to a VIP that is neither a ping nor an error about a packet of one of its flows.",
		"Nothing, unless it is an error that the workload needs: it must quote at least 8 bytes of the transport header."},
	{"protocol", Dropped, "A packet to a VIP that is neither TCP, UDP, SCTP nor ICMP of its IP version.",
		"Other protocols are not balanced. Encapsulate them, or use an address that is no VIP."},
	{"extension_headers", Dropped, "More than 8 extension headers, or a routing header that leads on to somewhere else.",
		"Source routing to a VIP is not possible. " + capture},
	{"nat", Dropped, "The first fragment of an SCTP packet whose port is to be translated: its checksum covers bytes that are not there.",
		"Make the sender use smaller packets, or do not translate the port of this flow."},
	{"no_gateway", Dropped, "An answer of a target, but the conduit has no gateway of its IP version.",
		"Give the attractor of the conduit a gateway of that IP version (\"weft get gateways\")."},
	{"no_route", Dropped, "An answer of a target, but the routes of the attractor's own table have no way to the client: a blackhole, an unreachable or another interface.",
		"\"weft frontend show\": is a gateway up, and does it announce a route to the client? \"ip route show table all\" in the replica's namespace shows what is installed."},
	{"internal", Dropped, "The kernel refused what it should never refuse.",
		"This is a bug of Weft or of the kernel: please report it with the output of \"weft trace packet -o json\"."},
}

// Reasons returns all reasons.
func Reasons() []Reason { return slices.Clone(explained) }

// Describe returns the reason of that name.
func Describe(name string) Reason {
	if i := slices.IndexFunc(explained, func(r Reason) bool { return r.Name == name }); i >= 0 {
		return explained[i]
	}
	return Reason{Name: name, Meaning: "A reason that this release of weft does not know.", Advice: "Use the weft of the same release as the load balancer."}
}

// planeReasons returns every reason that the data plane has.
func planeReasons() []lb.Reason {
	var all []lb.Reason
	for r := lb.Forwarded; r.String() != fmt.Sprintf("reason_%d", uint32(r)); r++ {
		all = append(all, r)
	}
	return all
}

// DropReasons is the name of all reasons that drop together.
const DropReasons = "drop"

// ParseReasons returns the reasons of the names, each once; nil for none.
func ParseReasons(list []string) ([]lb.Reason, error) {
	all := planeReasons()
	var out []lb.Reason
	for i, name := range list {
		found := len(out)
		for _, r := range all {
			if name == r.String() || name == DropReasons && r.Drop() {
				out = append(out, r)
			}
		}
		if len(out) == found {
			var known []string
			for _, r := range all {
				known = append(known, r.String())
			}
			slices.Sort(known)
			return nil, fmt.Errorf("reasons[%d]: there is no reason %q; there are %s and %s", i, name, DropReasons, strings.Join(known, ", "))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
