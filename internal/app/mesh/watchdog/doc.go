// SPDX-License-Identifier: Apache-2.0

// Package watchdog forgets endpoints of this node that have ended without
// unregistering.
//
// # Does
//
// Keeps one gRPC connection to every endpoint that registers. When it breaks and
// the endpoint's socket refuses another, the endpoint is unregistered: a killed
// process is found no longer, while it would be until its registration expires.
// An endpoint that never answered is left to its expiration.
//
// # Placement
//
// After begin, expire and recvfd; before the store.
//
// # Reads
//
// The endpoint's URL, and of its network services the label weft.dev/restart-grace: how
// long the endpoint may be away, for one whose data path outlives its process.
//
// # Writes
//
// Nothing.
//
// # On Unregister
//
// The connection is given back.
//
// # Metrics
//
// None.
package watchdog
