// SPDX-License-Identifier: Apache-2.0

// Package attachment keeps the attachments of a node's workloads in their
// wanted state.
//
// An attachment is one interface in a workload's network namespace, connected
// to every endpoint of one network service; each connection is a leg. The
// Manager stores what is wanted, watches the endpoints, and has one goroutine
// per leg that requests, refreshes, repairs and closes that leg's connection.
// Nothing is computed from events: each turn of a leg compares what is wanted
// with what stands.
//
// The package knows neither gRPC nor NSM nor netlink: Mesh, Namespaces,
// Interfaces and Store are what it needs of the world.
package attachment
