// SPDX-License-Identifier: Apache-2.0

// Package nodev1 compares what a node should be with what it is: the gRPC service
// weft.node.v1.Node that the agent serves on its administrator's socket, and its
// messages.
package nodev1

//go:generate ../../generate.sh node.proto
