// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"net/netip"
	"time"
)

// Traffic is what was counted since the thing that it counts for was set. Bytes
// are those of the frames, from the Ethernet header on.
type Traffic struct{ Packets, Bytes uint64 }

// Event is one decision of the program.
type Event struct {
	Time                        time.Time
	Reply                       bool // from a leg
	Reason                      Reason
	Src, Dst                    netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16
	Length                      int // of the frame
	Stream, Flow                uint32
	Target                      uint16
}

// Filter selects the decisions that are observed.
type Filter struct {
	Src, Dst netip.Prefix // invalid: any
	Protocol uint8        // 0: any
	Port     uint16       // of either side; 0: any
	Reasons  []Reason     // nil: all
	Rate     int          // events per second at most; 0: 1000
	Sample   uint32       // one of so many packets; 0: 1
}

// SlowPathCounters count what user space did for packets that the program
// cannot finish by itself.
type SlowPathCounters struct {
	Malformed uint64 // events that contradict themselves or their frame

	// ICMP errors.
	TimeExceeded uint64 // sent
	TooBig       uint64 // sent
	NotAllowed   uint64 // suppressed: never about such a packet
	RateLimited  uint64 // suppressed: too many

	// Packets to be cut.
	Cut       uint64 // cut and sent whole
	Pieces    uint64 // fragments that they became, those sent
	CutFailed uint64

	// Later fragments.
	Held     uint64 // now
	Released uint64 // were held until their first one had been seen
	Expired  uint64 // were held in vain
	Refused  uint64 // dropped: no room to hold them

	// What became of the later fragments that were released or not even held.
	Forwarded     uint64 // to a target
	Echoed        uint64 // answered as an echo
	Dropped       uint64 // as their first one was
	Undeliverable uint64 // TTL, MTU, or no such target

	SendErrors uint64 // frames that the interface did not take
}

// All yields the counters by their names in metrics, always in the same order;
// not Held, which is no counter.
func (c SlowPathCounters) All(yield func(event string, n uint64) bool) {
	for _, e := range [...]struct {
		name string
		n    uint64
	}{
		{"malformed", c.Malformed},
		{"time_exceeded_sent", c.TimeExceeded}, {"too_big_sent", c.TooBig},
		{"icmp_not_allowed", c.NotAllowed}, {"icmp_rate_limited", c.RateLimited},
		{"packets_cut", c.Cut}, {"pieces_sent", c.Pieces}, {"cut_failed", c.CutFailed},
		{"fragments_released", c.Released}, {"fragments_expired", c.Expired}, {"fragments_refused", c.Refused},
		{"fragments_forwarded", c.Forwarded}, {"fragments_echoed", c.Echoed},
		{"fragments_dropped", c.Dropped}, {"fragments_undeliverable", c.Undeliverable},
		{"send_errors", c.SendErrors},
	} {
		if !yield(e.name, e.n) {
			return
		}
	}
}
