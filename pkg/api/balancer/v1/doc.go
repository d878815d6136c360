// SPDX-License-Identifier: Apache-2.0

// Package balancerv1 shows what load balancers do: the gRPC service
// weft.balancer.v1.Balancer that "weft up" serves on its admin socket and
// weft-endpoint on one of its own, and its messages.
package balancerv1

//go:generate ../../generate.sh balancer.proto
