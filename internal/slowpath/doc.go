// SPDX-License-Identifier: Apache-2.0

// Package slowpath does what the load balancer's program hands over because it
// cannot do it itself: it answers packets with ICMP errors, cuts IPv4 packets
// into fragments, and holds fragments that came before the first one of their
// packet until that has shown where they go.
//
// # The first fragment and those that wait for it
//
// The program and the engine work at the same time. Whichever is second must
// see what the first one did:
//
//	program, first fragment          engine, Park
//	1. writes the table's entry      1. Fragments.SetWaiting(true)
//	2. reads whether one waits:      2. Fragments.Lookup:
//	   if so, emits Release             found: sends; not found: holds
//
// If the engine does not find the entry, the program had not written it, so the
// program reads "waiting" later than it was set, and emits Release. This needs a
// full memory barrier between the two steps on each side: a system call or an
// atomic operation. The engine says that nobody waits any more once it holds
// nothing.
//
// A lost Release (a full ring) delays what is held: with the next fragment of
// the packet, or at the latest when its time is over, the engine looks again.
package slowpath
