// SPDX-License-Identifier: Apache-2.0

// Package demo is `weft demo`: running processes gain and lose load-balanced
// networks under traffic, on one machine, through the very components and
// commands that users run, and every claim is measured while it happens.
//
// Layout of the namespaces, each named weft-demo-<name>:
//
//	router-a ==== lb-a-1, lb-a-2 (, lb-a-3)     10.1.0.0/24, fd01::/64
//	router-b ==== lb-b-1                        10.2.0.0/24, fd02::/64
//	node                                        the node's ends of all interfaces
//	w1 w2 w3 w4                                 workloads: one process each
package demo
