// SPDX-License-Identifier: Apache-2.0

// Package vlan owns bpf/vlan.bpf.c, which joins the veths of frontends with VLANs
// of a node's base interfaces: a tc ingress program on the outer end of each veth,
// and one at tcx ingress of each base interface.
//
// A port is an outer end. It belongs to one VLAN, or none (0), of one base
// interface, and has one MAC. Ports of the same VLAN and base interface reach each
// other, and the wire. What is neither of a port's VLAN nor for its MAC is left to
// the host: VLAN devices of other ids, and the host's own untagged traffic, work
// as before. The host itself does not reach untagged ports through the base
// interface, nor they the host, as with macvlan.
//
// The map of ports is the truth; those of stations and groups follow from it and
// are made again from it by Open.
package vlan

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -cflags "-O2 -g -Wall -Werror -I../../../bpf/include -I/usr/include/x86_64-linux-gnu" -type reason -type port -type station_key -type station -type group_key -type group vlan ../../../bpf/vlan.bpf.c
