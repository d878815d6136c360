// SPDX-License-Identifier: Apache-2.0

// Package unheard leaves nothing of Requests whose answers nobody hears.
//
// # Does
//
// A caller whose time is up does not know what has become of its Request: it may
// succeed a moment later, and what it made would stay until it expires. A Close by
// somebody who never got an answer meets the connection by the ids that pathid
// derives; and here
//
//   - a hop that has made a connection when its caller has gone closes it,
//   - a hop that does not know what has become of its own Request closes it at the
//     next hop.
//
// A Request that was refused with a reason leaves nothing anyway.
//
// # Placement
//
// [Wrap] around everything else of a server, pathid's included. [NewClient] behind
// the element that connects, before those that write into the request.
//
// # Reads
//
// The path.
//
// # Writes
//
// Nothing.
//
// # On Close
//
// Nothing.
//
// # Metrics
//
// None.
package unheard
