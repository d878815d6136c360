// SPDX-License-Identifier: Apache-2.0

// Package vacate tells an endpoint that the connection which is being closed has
// left its addresses, so that they need not wait for the end of their lease.
//
// # Does
//
// The forwarder at the client's side knows whether the client's interface has
// the addresses still, and says so in the context of a Close (With). The word
// travels as gRPC metadata: of what a Close carries, the SDK's begin elements,
// of which every hop has two, keep the context only; they replace the connection
// by the one they know. A hop that does not pass it on, like upstream's nsmgr,
// costs no more than the rest of the lease.
//
// # Placement
//
// The client element anywhere in front of the call, after begin.
//
// # Reads
//
// What With has put into the context, else the metadata of the incoming call.
//
// # Writes
//
// The metadata of the outgoing call.
//
// # On Close
//
// See above; a Request passes untouched.
//
// # Metrics
//
// None.
package vacate
