// SPDX-License-Identifier: Apache-2.0

// Package xconnect owns bpf/xconnect.bpf.c, the node's cross-connect: a tc
// ingress program on the outer end of every veth and one map entry per outer
// end that says where its frames go.
//
// A port is an outer end. A client port (the workload's side) has any number
// of legs, each an endpoint port; an endpoint port belongs to one client port.
// Every change is one atomic map write.
package xconnect

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -cflags "-O2 -g -Wall -Werror -I../../../bpf/include -I/usr/include/x86_64-linux-gnu" -type reason -type port_kind -type port -type leg -type control -type control_type -type tunnel_key -type tunnel -type peer_key -type peer xconnect ../../../bpf/xconnect.bpf.c
