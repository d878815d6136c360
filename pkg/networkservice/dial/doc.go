// SPDX-License-Identifier: Apache-2.0

// Package dial connects clients to the URL of the next hop over gRPC connections
// that are shared by all NSM connections to the same URL.
//
// # Does
//
// The SDK's dial element makes a gRPC connection for every NSM connection and
// again for every refresh: 17 per Request and Close through three hops, each with
// a TLS handshake. A [Pool] keeps one per URL, counts its users, and closes it
// when it had none for a while. A connection that broke is connected anew.
//
// # Placement
//
// After metadata and the element that chooses the URL; before connect.
//
// # Reads
//
// The client URL of the context (clienturlctx).
//
// # Writes
//
// The gRPC connection of the NSM connection's metadata (clientconn), which
// connect, heal and monitor use.
//
// # On Close
//
// The NSM connection gives its share of the gRPC connection back after the next
// element closed.
//
// # Metrics
//
// None.
package dial
