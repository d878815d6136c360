// SPDX-License-Identifier: Apache-2.0

// Package tunnelmech speaks the remote mechanisms VXLAN and WIREGUARD for a
// forwarder whose client ([NewServer]) or endpoint ([NewClient]) is on another
// node.
//
// # Does
//
// NewClient offers the next forwarder what the network service's [Policy] allows,
// and checks what it chose. NewServer takes the first offer that it can serve and
// chooses the VNI. Both lower the MTU to what fits through the tunnel, in the
// request and in the answer. [ClientTunnel] and [EndpointTunnel] tell the tunnels.
// Neither has anything to do with a local side, which is kernelmech's.
//
// VXLAN is as upstream's forwarders speak it, so that one of them may be on the
// other node. WIREGUARD is VXLAN within one WireGuard tunnel per pair of nodes; it
// has the VNI as an additional parameter. Weft's forwarders know each other by the
// parameters src_weft and dst_weft.
//
// # Placement
//
// NewServer: after metadata and discover, whose client must be nselabel.Record;
// before stitch. NewClient: in the client chain, after dial.
//
// # Reads
//
// The mechanism, its preferences, the client URL and the labels
// weft.dev/mechanism and weft.dev/mechanism-policy of the endpoint's network
// service.
//
// # Writes
//
// The mechanism and ConnectionContext.MTU. NewClient: mechanism and preferences of
// the request to the next forwarder.
//
// # On Close
//
// NewServer lets the next elements close first; then the VNI is free and encrypted
// tunnels of both sides are left. NewClient closes with the mechanism that the
// next forwarder chose.
//
// # Metrics
//
// None.
package tunnelmech
