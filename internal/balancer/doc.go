// SPDX-License-Identifier: Apache-2.0

// Package balancer is the engine of one load-balancer replica. It knows the
// configuration (VIPs, flows, streams, gateways), the targets that have joined
// streams and the links of its network namespace, and keeps the data plane's
// rules and Maglev tables in step with them.
//
// # Targets and legs
//
// A target is known by its stable name, which alone decides its slots. It has a
// leg for every connection that registered it, normally one; when a target
// comes back by a new connection before its old one has ended, it has two, and
// the newest that works carries the traffic.
//
// The life of a leg is its carrier. When the link of a registered leg appears,
// the balancer attaches the reply program and sets the link up; once both ends
// are up the target enters the tables of its streams. When carrier or link are
// lost the target leaves them at once: first the tables without it are built
// and flipped, then the target is dropped. A packet therefore never meets a
// slot whose target is unknown. The reply program stays on a link until the
// link is gone, so that a target that leaves can answer what it was sent.
//
// A target's weight scales its share of the slots. One of weight 0, or that
// drains, has none and is in no table, but it stays a target like others: it
// counts towards max-targets, and as long as its leg works the data plane knows
// where it is, for the flows and fragments that were sent to it before.
//
// # Order of work
//
// One goroutine, the settler, writes tables and targets. Whoever changes state
// marks the affected streams dirty under the lock and wakes it. Changes that
// arrive while it builds a table share the next one, so that many joins cost
// few tables and no join waits for a timer; streams that lost a target come
// before streams that gained one. A table that cannot be written is tried
// again with growing pauses while the old one stays in force.
//
// # Succession
//
// A data plane may have found a predecessor: programs of an earlier process that
// work on by themselves. The balancer fills its own tables beside it and takes
// over when every leg of the predecessor that works is registered again and all
// tables are in force, or when the time for that is over. A leg that stops
// working meanwhile is not waited for, and leaves those that are missing
// LossGrace at most.
package balancer
