// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/packet"
)

// The gateways that workloads know, which are in nobody's network. Errors about
// what workloads sent come from them.
var (
	legGateway4 = netip.MustParseAddr("169.254.87.1")
	legGateway6 = netip.MustParseAddr("fe80::57:4546:5401")
)

// blame sends an ICMP error about a packet back to where it came from.
func (e *Engine) blame(ev Event, now time.Time) {
	cause, ok := ev.network()
	if !ok {
		e.count(&e.counters.Malformed)
		return
	}
	if group(ev.Frame) || group(ev.Frame[6:]) || packet.Blameable(cause) != nil {
		e.count(&e.counters.NotAllowed)
		return
	}
	from, ifindex := e.origin(ev, cause)
	if src, _ := packet.Addresses(cause); src == from {
		e.count(&e.counters.NotAllowed) // it pretends to be from here
		return
	}
	if !e.errors.take(now) {
		e.count(&e.counters.RateLimited)
		return
	}
	sent, message := &e.counters.TimeExceeded, []byte(nil)
	if ev.Kind == TooBig {
		sent, message = &e.counters.TooBig, packet.TooBig(from, ev.MTU, cause)
	} else {
		message = packet.TimeExceeded(from, cause)
	}
	if e.send(ifindex, append(turned(ev.Frame[:ev.L3]), message...)) {
		e.count(sent)
	}
}

// origin is the source of an error and the interface it leaves by.
func (e *Engine) origin(ev Event, cause []byte) (from netip.Addr, ifindex int) {
	_, dst := packet.Addresses(cause)
	switch {
	case !ev.Reply:
		return dst, e.cfg.External
	case dst.Is4():
		return legGateway4, ev.Leg
	}
	return legGateway6, ev.Leg
}

// turned returns a copy of the link layer with source and destination swapped.
func turned(link []byte) []byte {
	return slices.Concat(link[6:12], link[:6], link[12:])
}

// group says whether a link-layer address is one of many stations.
func group(mac []byte) bool { return mac[0]&1 != 0 }
