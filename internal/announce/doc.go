// SPDX-License-Identifier: Apache-2.0

// Package announce decides which VIPs of a replica are announced to the gateways:
// those whose traffic is proven to be forwarded now.
//
// A VIP is announced while a stream behind it has a target in its table in force,
// the data path and the external interface work, and a probe went through the
// data path towards a target. Everything is looked at again whenever the balancer
// changes and, the probe too, every Interval. What is plain to see (no target, no
// program, no interface, a drain) withdraws a VIP at once. A probe withdraws it
// when it fails twice in a row, the second time after a fifth of Interval; then
// it has to get through three times in a row, Interval apart, before the VIP is
// announced again, so that a data path that fails now and then does not make
// routers recompute all the time. Otherwise one probe is enough.
package announce
