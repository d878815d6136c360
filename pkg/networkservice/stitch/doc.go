// SPDX-License-Identifier: Apache-2.0

// Package stitch makes the data path of a connection: it turns the connection
// and both mechanisms into a leg and hands it to the node's stitcher.
//
// # Does
//
// On Request the next elements reach the endpoint first; then the leg is made, or
// brought to what the answer says now. A Request that changes nothing changes
// nothing. When the first Request fails here, the endpoint is told by Close; a
// failed refresh leaves the leg as it was.
//
// # Placement
//
// After kernelmech.NewServer, tunnelmech.NewServer and fd.NewServer; before
// connect, in whose client chain their clients must be.
//
// # Reads
//
// Both mechanisms or tunnels; IpContext, EthernetContext, MTU and extra context of the
// answer.
//
// # Writes
//
// Nothing.
//
// # On Close
//
// First the addresses that are the leg's alone go, and the endpoint is told so
// (package vacate). From now on the client uses the leg only if it has no other.
// The next elements close, so that the endpoint sends nothing more; then the leg
// gets no more packets, then it goes. Until then what the endpoint has sent last
// can be answered. When the next elements fail, or do not answer in time, the leg
// goes all the same.
//
// # Metrics
//
// None.
package stitch
