// SPDX-License-Identifier: Apache-2.0

// Package orphan closes connections that were made by an earlier process.
//
// # Does
//
// The SDK's begin element answers a Close of a connection that it does not know
// with success and calls nobody: after a restart of a forwarder or nsmgr, what is
// behind it would stay until it expires. An [Orphanage] passes such a Close
// through a chain without begin. A connection with a Request under way is known.
//
// # Placement
//
// [Orphanage.Wrap] around the whole chain, [Orphanage.NewServer] as the first
// element behind the SDK's. The chain for orphans holds the elements of the
// component itself, which must take a Close for that of a connection without
// metadata, and ends with connect.NewServer(hop.NewCloser(...)).
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
// See above.
//
// # Metrics
//
// None.
package orphan
