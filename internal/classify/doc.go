// SPDX-License-Identifier: Apache-2.0

// Package classify compiles a set of classification rules into one flat blob
// that the lb program reads with masked offsets.
//
// A packet is classified by aggregated bit vectors (Baboescu and Varghese,
// "Scalable Packet Classification", SIGCOMM 2001): every field (source, source
// port, destination port, protocol) has equivalence classes, and every class
// a row of bits, one per rule. The conjunction of the rows of the packet's
// classes and of its VIP holds the matching rules, and the lowest bit is the
// best one, because bits stand in the order of precedence. Each row is preceded
// by summary bits, one per 64 rules, so that empty words are not looked at.
//
// Precedence only matters between rules that share a VIP. Rules of unrelated
// VIPs are therefore laid out side by side, and a VIP names the few words that
// hold its own: 10,000 rules over 1,000 VIPs cost a packet what 10 rules do.
//
// The C side of the layout is bpf/lib/lb_types.h.
package classify
