// SPDX-License-Identifier: Apache-2.0

// Package frame writes and reads the control frames by which the forwarders of
// two nodes know of each other. A control frame is an Ethernet frame inside
// VXLAN (RFC 7348), in network byte order:
//
//	VXLAN     8 bytes  flags 0x08, reserved, VNI, reserved
//	Ethernet 14 bytes  destination, source, type 0x88B5 (IEEE 802 local experimental)
//	magic     4 bytes  "WEFT"
//	version   1 byte   1
//	type      1 byte   1 probe, 2 probe reply, 3 state, 4 state ack
//	flags     1 byte   of a state: see Flags
//	reserved  1 byte   0
//	nonce     8 bytes
//
// Probes and their replies travel in ControlVNI, states and their acks in the
// VNI of the tunnel that they are about. The kernel's side is in
// bpf/xconnect.bpf.c.
package frame
