// SPDX-License-Identifier: Apache-2.0

// Package stitch owns the ports and legs of a node: it makes the interfaces in
// the namespaces of workloads and endpoints, configures them and joins them
// with the cross-connect.
//
// A leg joins one interface of a workload (the client) with one interface of
// an endpoint. Legs with the same client interface share a port: the interface
// carries the union of what its legs want, and loses only what no leg wants
// any more. Everything is applied as a difference to what is there, so an
// unchanged leg changes nothing.
//
// The life of a leg is the carrier of its links. While the client's interface
// has none, the legs' outer ends are down, so that the endpoints see the loss;
// a leg whose endpoint has none is not used while there is another.
//
// One side of a leg may be on another node, behind a tunnel. Then the carrier of
// its link is what the other node tells of it (Remotes).
//
// The kernel is the database. With a pin directory, New adopts the ports and legs
// of an earlier process; Connect claims them, and what nobody claims is collected
// after a grace period. Check compares the kernel with what is wanted.
//
// Nothing here keeps a descriptor of a workload's or endpoint's namespace: it
// would keep the namespace alive.
package stitch
