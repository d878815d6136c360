// SPDX-License-Identifier: Apache-2.0

// Package vlanmech speaks NSM's mechanism VLAN (class REMOTE): the endpoint is no
// process that packets go through, but says in which VLAN of which interface of the
// client's own node the client's interface is.
//
// # Does
//
// In the forwarder: [NewClient] offers the mechanism to endpoints beside the others
// and notes the answer's VLAN. [NewServer] then makes the interface (package
// trunk), with the addresses of the answer; without such an answer it does nothing.
// [Chosen] tells the elements between that there is no leg to make.
//
// In the endpoint: [NewEndpointServer] takes the mechanism and answers with its
// VLAN, and [NewAddressServer] gives each client addresses of the network in the
// VLAN, with the network's prefix length: there is no gateway of ours in between.
//
// The VLAN id is the mechanism's parameter vlan-id, as upstream's; 0 or none is
// untagged. The base interface is the parameter base-interface, which is Weft's
// own; without it, that of the label via of the connection or the endpoint, by the
// forwarder's [Devices], as in upstream's forwarders.
//
// # Placement
//
// NewServer: after fd and before stitch. NewClient: in the client chain, behind
// kernelmech and tunnelmech, which leave an answer of this mechanism alone.
// NewEndpointServer and NewAddressServer: at the endpoint's end, after metadata.
//
// # Reads
//
// The mechanisms, SrcIpAddrs, EthernetContext.SrcMac, MTU, the label via and the
// extra context's target (the owner of addresses; without one it is the
// connection).
//
// # Writes
//
// NewClient: mechanism and preferences of the request to the endpoint.
// NewEndpointServer: Connection.Mechanism. NewAddressServer: SrcIpAddrs; what was
// there before goes.
//
// # On Close
//
// NewServer lets the next elements close first, then the interface goes. The
// addresses are free when their last connection is closed or has expired.
//
// # Metrics
//
// None.
package vlanmech
