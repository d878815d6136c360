// SPDX-License-Identifier: Apache-2.0

// Package packet builds and reads Ethernet frames: VLAN tags, ARP, IPv4, IPv6
// with extension headers, fragments, TCP, UDP, SCTP, ICMP and neighbour
// discovery. It knows nothing of load balancing; tests, the reference model,
// tracing and the slow path use it.
package packet
