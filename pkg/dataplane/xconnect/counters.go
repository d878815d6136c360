// SPDX-License-Identifier: Apache-2.0

package xconnect

import "fmt"

// Reason says what became of a frame.
type Reason uint32

// The reasons, as in the program.
const (
	ToClient   = Reason(xconnectReasonREASON_TO_CLIENT)   // from an endpoint port to its client port
	OnlyLeg    = Reason(xconnectReasonREASON_ONLY_LEG)    // to a client port's only leg
	Anycast    = Reason(xconnectReasonREASON_ANYCAST)     // gateway MAC: a leg by flow hash
	LegMAC     = Reason(xconnectReasonREASON_LEG_MAC)     // to the leg with that MAC
	Group      = Reason(xconnectReasonREASON_GROUP)       // multicast or broadcast: a leg by flow hash
	NoPort     = Reason(xconnectReasonREASON_NO_PORT)     // dropped: unknown ingress interface
	NoLeg      = Reason(xconnectReasonREASON_NO_LEG)      // dropped: client port without a live leg
	UnknownMAC = Reason(xconnectReasonREASON_UNKNOWN_MAC) // dropped: no leg has that MAC
	TooShort   = Reason(xconnectReasonREASON_TOO_SHORT)   // dropped: no whole Ethernet header
	Stale      = Reason(xconnectReasonREASON_STALE)       // dropped: entry replaced while read
	Rewrite    = Reason(xconnectReasonREASON_REWRITE)     // dropped: MAC could not be written

	FromTunnel  = Reason(xconnectReasonREASON_FROM_TUNNEL)  // from a tunnel to its port
	Probe       = Reason(xconnectReasonREASON_PROBE)        // another node's probe, answered
	ProbeReply  = Reason(xconnectReasonREASON_PROBE_REPLY)  // another node's answer, noted
	ControlTold = Reason(xconnectReasonREASON_CONTROL)      // control frame, told to who watches
	NoTunnel    = Reason(xconnectReasonREASON_NO_TUNNEL)    // dropped: no tunnel with that sender and VNI
	Encap       = Reason(xconnectReasonREASON_ENCAP)        // dropped: tunnel key refused by the kernel
	BadControl  = Reason(xconnectReasonREASON_BAD_CONTROL)  // dropped: control frame that nobody may send so
	ControlFull = Reason(xconnectReasonREASON_CONTROL_FULL) // dropped: nobody reads the control frames

	reasonCount = Reason(xconnectReasonREASON_COUNT)
)

var reasonNames = [reasonCount]string{
	"to_client", "only_leg", "anycast", "leg_mac", "group",
	"no_port", "no_leg", "unknown_mac", "too_short", "stale", "rewrite",
	"from_tunnel", "probe", "probe_reply", "control", "no_tunnel", "encap", "bad_control", "control_full",
}

// String returns the name that metrics use.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// Dropped tells whether frames of this reason were dropped.
func (r Reason) Dropped() bool {
	return r >= NoPort && r <= Rewrite || r >= NoTunnel
}

// Counters returns the frames by reason since the maps were made.
func (x *XConnect) Counters() (map[Reason]uint64, error) {
	counters := make(map[Reason]uint64, reasonCount)
	for reason := range reasonCount {
		var perCPU []uint64
		if err := x.objects.XcCounters.Lookup(uint32(reason), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", reason, err)
		}
		for _, n := range perCPU {
			counters[reason] += n
		}
	}
	return counters, nil
}
