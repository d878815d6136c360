// SPDX-License-Identifier: Apache-2.0

// Package frontendv1 shows what attracts traffic from outside: the gRPC service
// weft.frontend.v1.Frontend that "weft up" serves on its admin socket and
// weft-endpoint on one of its own; and the service Speaker between an endpoint and
// the process of its frontend, which is for these two alone.
package frontendv1

//go:generate ../../generate.sh frontend.proto
//go:generate ../../generate.sh speaker.proto
