// SPDX-License-Identifier: Apache-2.0

// Package lb owns the programs of bpf/lb.bpf.c and bpf/lb_xdp.bpf.c: it loads and
// attaches them, compiles and publishes rules, switches Maglev tables and
// targets, reads counters and decisions, and does through internal/slowpath what
// the programs hand over.
package lb

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package lb -type lb_reason -type lb_punt_kind -type lb_punt -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf -I/usr/include/x86_64-linux-gnu" bpf ../../../bpf/lb.bpf.c
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package lb -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf -I/usr/include/x86_64-linux-gnu" xdp ../../../bpf/lb_xdp.bpf.c
