// SPDX-License-Identifier: Apache-2.0

// Package hopwatch notices that an endpoint's process on this node has ended.
//
// # Does
//
// Watches the gRPC connection to the endpoint of every NSM connection. When it
// breaks and nobody listens at the endpoint's URL any more, a function is called,
// once until the connection's next Request; for an endpoint whose data path
// outlives its process, as its label says, when it is not back in time. A next hop
// on another node is left to that node.
//
// # Placement
//
// After metadata, discover and tunnelmech, before connect, whose client chain must
// dial with package dial.
//
// # Reads
//
// The client URL, the gRPC connection of the metadata, and the endpoint's label
// weft.dev/restart-grace.
//
// # Writes
//
// Nothing.
//
// # On Close
//
// The watch ends first.
//
// # Metrics
//
// None.
package hopwatch
