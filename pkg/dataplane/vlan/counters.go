// SPDX-License-Identifier: Apache-2.0

package vlan

import "fmt"

// Reason says what became of a frame.
type Reason uint32

// The reasons, as in the program.
const (
	ToWire     = Reason(vlanReasonREASON_TO_WIRE)     // from a port to the base interface
	ToSibling  = Reason(vlanReasonREASON_TO_SIBLING)  // from a port to another one of the VLAN
	FloodOut   = Reason(vlanReasonREASON_FLOOD_OUT)   // group, from a port
	ToPort     = Reason(vlanReasonREASON_TO_PORT)     // from the base interface to a port
	FloodIn    = Reason(vlanReasonREASON_FLOOD_IN)    // group, from the base interface
	PassVLAN   = Reason(vlanReasonREASON_PASS_VLAN)   // left to the host: no port has the VLAN
	PassHost   = Reason(vlanReasonREASON_PASS_HOST)   // left to the host: untagged, no port has the MAC
	TooShort   = Reason(vlanReasonREASON_TOO_SHORT)   // dropped: no whole Ethernet header
	NoPort     = Reason(vlanReasonREASON_NO_PORT)     // dropped: unknown ingress interface
	Tagged     = Reason(vlanReasonREASON_TAGGED)      // dropped: an untagged port's frame with a tag
	UnknownMAC = Reason(vlanReasonREASON_UNKNOWN_MAC) // dropped: in a VLAN of ports, for none of them
	Looped     = Reason(vlanReasonREASON_LOOPED)      // dropped: a port's own group frame came back
	Stale      = Reason(vlanReasonREASON_STALE)       // dropped: entry replaced while read
	Rewrite    = Reason(vlanReasonREASON_REWRITE)     // dropped: tag could not be pushed or popped

	reasonCount = Reason(vlanReasonREASON_COUNT)
)

var reasonNames = [reasonCount]string{
	"to_wire", "to_sibling", "flood_out", "to_port", "flood_in", "pass_vlan", "pass_host",
	"too_short", "no_port", "tagged", "unknown_mac", "looped", "stale", "rewrite",
}

// String returns the name that metrics use.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// Dropped tells whether frames of this reason were dropped.
func (r Reason) Dropped() bool { return r >= TooShort }

// Counters returns the frames by reason since the maps were made.
func (v *VLAN) Counters() (map[Reason]uint64, error) {
	counters := make(map[Reason]uint64, reasonCount)
	for reason := range reasonCount {
		var perCPU []uint64
		if err := v.objects.VlCounters.Lookup(uint32(reason), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", reason, err)
		}
		for _, n := range perCPU {
			counters[reason] += n
		}
	}
	return counters, nil
}
