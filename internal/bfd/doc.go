// SPDX-License-Identifier: Apache-2.0

// Package bfd detects failures of the path to a neighbour: the packets and the
// session machine of Bidirectional Forwarding Detection (RFC 5880) in
// asynchronous mode. It does no input or output and has no clock: its callers
// bring packets, the time and randomness. Package bfdnet joins it to the network.
//
// Names and order follow section 6.8 of the RFC; docs/bfd.md lists its demands
// and the tests that show them met.
package bfd
