// SPDX-License-Identifier: Apache-2.0

// Package bgp keeps BGP sessions (RFC 4271) with gateways, tells them of exactly
// the prefixes that it is given, and learns routes from them. Its codec is
// GoBGP's; the session machine is its own, because GoBGP's server waits seconds
// before it connects again, does not tell what a gateway's notification said
// before the session stood, and closes a session whose prefixes are too many. It
// lives in the process's current network namespace.
package bgp
