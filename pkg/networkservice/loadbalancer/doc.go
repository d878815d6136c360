// SPDX-License-Identifier: Apache-2.0

// Package loadbalancer is the chain element that makes a connection a target of
// the load balancer: the connection is the registration, and there is no other.
//
// # Does
//
// Registers the target in its streams and tells the workload's side what it
// needs to receive and answer their traffic. A repeated Request changes what
// differs: joining or leaving streams, another weight and draining are changes of
// the tables alone. When the
// VIPs of streams change, the connections of their targets are asked to refresh
// (the state REFRESH_REQUESTED in a monitor event), which brings them the new
// ones.
//
// A live target that joins another stream gets its traffic only when the
// workload has the stream's VIPs. The answer brings them there and asks for a
// refresh; that the refresh's Request contains them proves it. A client that
// does not refresh on request gets the traffic after a grace period.
//
// # Placement
//
// Must follow metadata, monitor and trimpath. Must precede the elements that
// choose the interface (leg) and assign its addresses (ipam), because it adds
// to what they answer.
//
// # Reads
//
// Extra context: streams, weight, drain (each else from the label of that name;
// weight 1, not draining), target (by default the name of the client, the first
// of the path). EthernetContext.SrcMac. In the answer: the mechanism's interface
// name, IpContext.SrcIpAddrs and DstIpAddrs.
//
// # Writes
//
// Into the answer: the VIPs of the joined streams (SrcIpAddrs), a policy per VIP
// that sends what comes from it to the gateway (Policies), the neighbours on the
// leg (IpNeighbors), the MACs of both ends (EthernetContext), the MTU if one is
// configured, and in the extra context that the endpoint sets its link up.
// A stream that is not configured is NotFound, a full one ResourceExhausted, a
// name, MAC, stream list or weight that cannot be read InvalidArgument.
//
// # On Close
//
// The target has left the tables before the following elements close. A first
// Request that fails leaves no target; a later one leaves the target as it was.
//
// # Metrics
//
// Those of the balancer.
package loadbalancer
