// SPDX-License-Identifier: Apache-2.0

// Package traffic makes and measures real traffic: ordinary TCP and UDP servers
// that say who they are, and clients that count what was lost, broken or moved
// between servers. The demo, the benchmarks and the end-to-end tests use it.
//
// A server answers a UDP datagram with Reply{its name, the peer it saw, the
// request}, and a TCP connection with one such line followed by an echo.
package traffic
