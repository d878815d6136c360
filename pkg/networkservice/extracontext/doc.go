// SPDX-License-Identifier: Apache-2.0

// Package extracontext defines what Weft writes into the extra context of an
// NSM connection, and the addresses that every workload interface shares.
//
// NSM clients ignore changed labels and mechanism parameters of a live
// connection, but carry its context with every request. What must change while
// a connection lives (the joined streams, the weight, draining) therefore travels
// here.
package extracontext
