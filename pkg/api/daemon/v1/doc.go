// SPDX-License-Identifier: Apache-2.0

// Package daemonv1 is the administrator's API: the gRPC service
// weft.daemon.v1.Daemon that "weft up" serves on its admin socket, and its
// messages.
package daemonv1

//go:generate ../../generate.sh daemon.proto
