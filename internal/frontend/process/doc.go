// SPDX-License-Identifier: Apache-2.0

// Package process runs a frontend in a process of its own, in the replica's
// namespace: BGP opens sockets on any thread, and BFD must not wait for the
// endpoint's garbage collector.
//
// # Life
//
// The process outlives its endpoint: sessions and announcements go on while the
// pinned data path does. They are a lease that a running Process renews. When
// nobody renews it, everything is withdrawn and the process ends. The next Start
// with the same socket finds the process and changes nothing; only one that runs
// another program (an upgraded binary) is asked for its configuration, ended
// without a word to the gateways, and followed by a new one, which tells them by
// graceful restart (RFC 4724) that it is back. A process that dies is started
// again at once in the same way. Its routes stay in the kernel meanwhile.
//
// One process serves a socket: it holds a lock beside it.
//
// Secrets pass through the socket only, which its owner alone may open; never
// through command lines, environments or logs.
package process
