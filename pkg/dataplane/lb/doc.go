// SPDX-License-Identifier: Apache-2.0

// Package lb owns the lb program of bpf/lb.bpf.c: it loads and attaches it,
// compiles and publishes rules, switches Maglev tables and targets, and reads
// the counters.
package lb

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package lb -type lb_reason -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I../../../bpf/include -I../../../bpf -I/usr/include/x86_64-linux-gnu" bpf ../../../bpf/lb.bpf.c
