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
// here. Excluded prefixes are honoured. A full prefix is ResourceExhausted, and
// tells how many addresses wait for the end of leases.
//
// Each Request grants a lease, as long as the tokens of client and endpoint are
// good: the kernel at the client's side takes the address off the interface when
// the lease has ended, even if nobody is left who could. So an address that may
// be on an interface is given to nobody else, except to its owner, at any time.
//
// After a restart (Pool.Adopt) the routes to leg interfaces in the endpoint's
// namespace, and the ledger if there is a state directory, tell which addresses
// are held; a connection gets its own back by its id, or by the context that
// came with the answer before. Without a ledger two things are not known: an
// address of a connection that ended within the last lease, whose leg is gone,
// and one that was given so shortly before that its leg is not made yet.
//
// # Placement
//
// Must follow metadata. Must precede nothing; elements before it see the
// context as the client sent it, and the assigned one in the answer.
//
// # Reads
//
// IpContext.SrcIpAddrs, DstIpAddrs and ExcludedPrefixes; the extra context's
// target (the owner of the addresses; without one it is the connection); the
// expiration of the previous and the own path segment.
//
// # Writes
//
// IpContext.SrcIpAddrs (the leg's addresses alone), DstIpAddrs (the replica's),
// SrcRoutes and DstRoutes to one another. What was there before goes. The lease
// in the extra context.
//
// # On Close
//
// After the elements that follow have closed, the connection's hold on the
// addresses ends: at once when its forwarder says that they have been left
// (package vacate), else with the lease. They are free when no connection of the
// target holds them. A failed first Request ends it at once, a failed later one
// leaves the addresses as they were. Expired connections are closed by the
// timeout element.
//
// # Metrics
//
// None.
package ipam
