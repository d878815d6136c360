// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

// Kind is what is to be done about a packet.
type Kind uint8

// Kinds of events. The zero Kind is none.
const (
	TimeExceeded Kind = iota + 1 // tell the source that the TTL was used up
	TooBig                       // tell the source of the MTU
	Fragment                     // cut this packet and send it
	Park                         // hold this later fragment
	Release                      // a first fragment with this key has been seen
)

// Event is what the program hands over.
type Event struct {
	Kind  Kind
	Reply bool // the packet came from a leg, not from outside
	// Frame is the frame as it came in, tags inside. It belongs to the engine,
	// which may change it. TimeExceeded and TooBig need only its first 1500 bytes.
	Frame  []byte
	Length int         // of the whole frame, bytes
	L3     int         // offset of the network header in Frame
	GSO    bool        // the frame stands for several packets (gso_segs > 1)
	MTU    int         // TooBig, Fragment: the limit that it exceeds
	Target uint16      // Fragment, not Reply: where it goes
	Port   uint16      // Fragment: what the destination port (Reply: source port) becomes; 0: unchanged
	Key    FragmentKey // Park, Release
	Leg    int         // Reply: index of the leg's interface
}

// FragmentKey tells packets of which there are fragments apart. Proto is 0 for
// IPv6, whose identification stands for itself (RFC 8200, section 4.5).
type FragmentKey struct {
	Src, Dst netip.Addr
	ID       uint32
	Proto    uint8
}

// FragmentVerdict is what became of a first fragment: Drop, Echo, or else
// Target.
type FragmentVerdict struct {
	Target uint16
	Echo   bool // answered as an echo request
	Drop   bool
}

// NextHop is where and how a packet leaves.
type NextHop struct {
	Interface int        // index
	Dst, Src  packet.MAC // of the frame
	MTU       int        // longest IP packet; 0: unlimited
}

// Targets knows the targets. Events may name one that is gone.
type Targets interface {
	Target(id uint16) (NextHop, bool)
}

// Gateways chooses the gateway of a reply as the program does, all packets
// between the two addresses alike. It must not block for long: while a link-layer
// address is unknown, the answer is no.
type Gateways interface {
	Gateway(src, dst netip.Addr) (NextHop, bool)
}

// Fragments is the program's side of the fragments' hand-over; see the package's
// documentation for the order. SetWaiting must be a full memory barrier.
type Fragments interface {
	Lookup(key FragmentKey) (FragmentVerdict, bool)
	SetWaiting(on bool)
}

// Sender sends a whole frame out of the interface with the index. It must not
// keep the frame.
type Sender interface {
	Send(ifindex int, frame []byte) error
}
