// SPDX-License-Identifier: Apache-2.0

// Package ipam is the chain element that gives each leg its addresses.
//
// # Does
//
// Every replica has prefixes of its own, so that replicas need not agree. The
// first usable address of a prefix is the replica's; each target gets one of
// the others, the same for all its connections. An address that the client
// names in its first request is given to it if it is of a prefix of this
// replica and free, and refused with AlreadyExists and its holder's name if it
// is not free; addresses outside the prefixes are other replicas' and ignored
// here. An address that this replica gave before it was restarted is claimed
// again from the connection's context, or replaced if somebody else has got it
// meanwhile. Excluded prefixes are honoured. A full prefix is ResourceExhausted.
//
// # Placement
//
// Must follow metadata. Must precede nothing; elements before it see the
// context as the client sent it, and the assigned one in the answer.
//
// # Reads
//
// IpContext.SrcIpAddrs, DstIpAddrs and ExcludedPrefixes; the extra context's
// target (the owner of the addresses; without one it is the connection).
//
// # Writes
//
// IpContext.SrcIpAddrs (the leg's addresses alone), DstIpAddrs (the replica's),
// SrcRoutes and DstRoutes to one another. What was there before goes.
//
// # On Close
//
// After the elements that follow have closed, the connection's hold on the
// addresses ends; they are free when no connection of the target holds them. A
// failed first Request does the same, a failed later one leaves the addresses as
// they were. Expired connections are closed by the timeout element.
//
// # Metrics
//
// None.
package ipam
