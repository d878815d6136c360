// SPDX-License-Identifier: Apache-2.0

// Package unheard leaves nothing of Requests whose answers nobody hears.
//
// # Does
//
// A caller whose time is up does not know what has become of its Request: it may
// succeed a moment later, and what it made would stay until it expires. Nor could
// the caller close it, because each hop gives the connection an ID of its own,
// that comes with the answer. Therefore here
//
//   - the ID that a hop gives a new connection follows from the caller's and the
//     hop's name, so that a Close or a second Request by somebody who never got an
//     answer meets the same connection, behind the Request if that still runs,
//   - a hop that has made a connection when its caller has gone closes it,
//   - a hop that does not know what has become of its own Request closes it at the
//     next hop.
//
// A Request that was refused with a reason leaves nothing anyway.
//
// # Placement
//
// [Wrap] around everything else of a server. [NewClient] behind the element that
// connects, before those that write into the request. [NewServer] begins the chain
// for Closes of an nsmgr for which there is no Request.
//
// # Reads
//
// The path.
//
// # Writes
//
// The path's next segment.
//
// # On Close
//
// Of a connection that this hop has never answered for, the ID is found as above.
//
// # Metrics
//
// None.
package unheard
