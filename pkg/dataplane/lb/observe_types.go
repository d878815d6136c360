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
	ICMPSent, ICMPLimited uint64 // ICMP errors sent, and left out for their rate limit
	Fragmented            uint64 // packets cut to the MTU of a leg
	FragmentsHeld         uint64 // fragments that came before the first of their packet
	FragmentsReleased     uint64 // of those held: sent after it
	FragmentsExpired      uint64 // of those held: dropped because it never came
	FragmentsRefused      uint64 // dropped because no more could be held
}

// All yields the counters by their names in metrics, always in the same order.
func (c SlowPathCounters) All(yield func(event string, n uint64) bool) {
	for _, e := range [...]struct {
		name string
		n    uint64
	}{
		{"icmp_sent", c.ICMPSent}, {"icmp_limited", c.ICMPLimited}, {"fragmented", c.Fragmented},
		{"fragments_held", c.FragmentsHeld}, {"fragments_released", c.FragmentsReleased},
		{"fragments_expired", c.FragmentsExpired}, {"fragments_refused", c.FragmentsRefused},
	} {
		if !yield(e.name, e.n) {
			return
		}
	}
}
