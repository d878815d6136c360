// SPDX-License-Identifier: Apache-2.0

// Package bfdnet runs BFD sessions over UDP: single hop (RFC 5881) and multihop
// (RFC 5883), IPv4 and IPv6, in the network namespace of the thread that calls
// New.
//
// One goroutine on an OS thread of its own does everything: it waits for packets
// and deadlines with ppoll(2), takes what has arrived by recvmmsg(2), lets it
// count from the moment at which the kernel received it, only then looks which
// session has expired, and sends what is due. It allocates nothing per packet. The
// thread has a real-time priority where that is permitted (CAP_SYS_NICE), else a
// raised one where that is. So what keeps a session alive is neither delayed by
// other work nor judged by its own delay. The Go runtime itself still has to
// give the thread a processor: use the package in a process that computes little,
// and call Prioritise first in it.
//
// Memory is not locked: a program of Go cannot do without the risk that a later
// allocation fails, and nodes that need this precision do not swap.
package bfdnet
