// SPDX-License-Identifier: Apache-2.0

// Package liveness lets the forwarders of two nodes know of each other whether
// the other node can be reached, and whether the far end of each tunnel has
// carrier.
//
// # Is the node alive?
//
// Every (device, remote) that a tunnel leads to is probed once per Interval. The
// other node's kernel reflects the probe and this node's kernel notes the
// reply, so neither process has to run for it. While a probe is unanswered, and
// as long as the node is not alive, probes go out four times as often: many of
// them must be lost before loss looks like death, and the return is seen at
// once.
//
// A node is dead when the oldest unanswered probe is Multiplier-1 intervals
// old, and at least Multiplier probes have had their full interval to come back
// in vain. Since an answered probe is at most one interval older than the first
// unanswered one, death shows within Multiplier intervals (from 3 on). Only
// probes that the kernel took, or refused because there is no way, count, and
// from when it did: a process that did not run for a while has sent nothing and
// finds nothing missing. The first reply to a probe that was sent after the death
// ends it.
//
// # Has the far end carrier?
//
// Each side tells a change of its end in a state frame at once, and repeats it
// until the other process acknowledges it. Whoever does not know the other's
// state asks for it in a state frame of its own: after Join, after a restart,
// and when the node returns from death, because it may be another one then, which
// knows nothing of the tunnel. Until the answer the end of a returned node counts
// as down. To acknowledge a question is to promise the answer.
//
// The nonce of a state orders states. It counts up from the microseconds since
// boot at which the process began, so a later process of that node is believed,
// and what an earlier one sent is not. Its upper 16 bits tell boots apart, which
// have no order: whoever has a new boot is believed, and what was seen of an
// earlier boot is not believed again.
//
// States in the air are paced, and one is outstanding per tunnel at most. None is
// sent to a dead node. All of this is one goroutine's work; another one calls
// Changed. Only monotonic clocks are read.
package liveness
