// SPDX-License-Identifier: Apache-2.0

package bfd

// Reason is why a packet was discarded.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	Accepted             Reason = iota
	WrongTTL                    // not 255 on a single hop (RFC 5881, 5)
	BadVersion                  // and all below: RFC 5880, 6.8.6
	BadLength                   // of the packet or of its authentication section
	ZeroMultiplier              // Detect Mult is 0
	Multipoint                  // its bit is set
	ZeroDiscriminator           // My Discriminator is 0
	UnknownDiscriminator        // Your Discriminator is no session's
	ZeroYours                   // Your Discriminator is 0 though the sender is not down
	UnknownSource               // no session with the sender
	WrongLink                   // the session is on another interface
	AuthUnexpected              // authenticated, and we do not use it
	AuthMissing                 // not authenticated, and we want it
	AuthType                    // another type than ours
	AuthKeyID                   // another key than ours
	AuthSequence                // not in the window: repeated, or an old one
	AuthDigest                  // the keys differ
	LocalAdminDown              // the session is administratively down here
	reasons
)

// Reasons is how many there are, Accepted included.
const Reasons = int(reasons)

func (r Reason) String() string { return reasonNames[r] }

var reasonNames = [Reasons]string{
	"accepted", "TTL is not 255", "version is not 1", "length is wrong", "detection multiplier is 0",
	"multipoint bit is set", "sender's discriminator is 0", "discriminator is of no session",
	"discriminator is 0 though the sender is not down", "no session with the sender", "wrong interface",
	"packet is authenticated, which is not configured here", "packet is not authenticated",
	"authentication type differs from ours", "authentication key id differs from ours",
	"authentication sequence number is outside of the window", "authentication digest does not match: the keys differ",
	"session is administratively down here",
}
