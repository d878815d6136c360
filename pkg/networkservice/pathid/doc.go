// SPDX-License-Identifier: Apache-2.0

// Package pathid gives a connection the same ids each time it is requested anew.
//
// # Does
//
// The SDK's updatepath element invents the id of a connection's next path segment.
// A client that was killed before it had the answer, or had stored it, would get
// other ids when it asks again, and what was made for the first ones would stay
// until it expires. [Wrap] derives the id from the previous segment's id and the
// chain's name before updatepath sees the connection: whoever asks again with the
// id that it had chosen gets the connection that it had begun, and can close it
// without knowing the path.
//
// The first id must be one that nobody can guess, and each attempt's own where
// attempts are not to meet.
//
// # Placement
//
// [Wrap] around everything else: the SDK's chain and what wraps it.
//
// # Reads
//
// The path.
//
// # Writes
//
// The path's next segment, unless it is of this chain already.
//
// # On Close
//
// The same.
//
// # Metrics
//
// None.
package pathid
