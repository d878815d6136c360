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
//
// With several nodes (package cluster) there are node-1, node-2 and so on in
// place of node, on a switch of their own, and every component is a process:
//
//	node-1   registry nsmgr forwarder agent   lb-a-1 lb-b-1   w1 w4
//	node-2            nsmgr forwarder agent   lb-a-2          w2
//	node-3            nsmgr forwarder agent                   w3
package demo
