// SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"

	"github.com/weft-project/weft/internal/packet"
)

// link is the verdict on the link layer, "" if the frame concerns us.
func (w World) link(p packet.Packet, err error) string {
	if errors.Is(err, packet.ErrEthernet) && len(p.Tags) == 0 {
		return Malformed
	}
	ours := w.VLAN == 0
	for _, t := range p.Tags {
		switch vid := t.TCI & 0xfff; {
		case vid == 0: // a priority tag
		case vid != w.VLAN:
			return PassVLAN
		default:
			ours = true
		}
	}
	switch {
	case errors.Is(err, packet.ErrEthernet):
		return Malformed
	case !ours, errors.Is(err, packet.ErrTags):
		return PassVLAN
	case errors.Is(err, packet.ErrNetwork):
		return Malformed
	case p.EtherType == packet.EtherIPv4, p.EtherType == packet.EtherIPv6, p.EtherType == packet.EtherARP:
		return ""
	}
	return PassNotIP
}

// leave is a frame left to the stack, without the tags of the configured VLAN.
func (w World) leave(verdict string, frame []byte, p packet.Packet) Decision {
	if verdict == Malformed {
		return Decision{Verdict: verdict}
	}
	if verdict != PassVLAN && w.VLAN != 0 {
		frame = packet.Ethernet{Dst: p.Ethernet.Dst, Src: p.Ethernet.Src}.Frame(p.EtherType, frame[p.L3:])
	}
	return Decision{Verdict: verdict, Frame: frame}
}
