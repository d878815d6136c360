// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"cmp"
	"fmt"
	"net"
	"slices"
)

// Bits of the flags of a leg, as in the program.
const (
	legTunnel = 1
	legIPv6   = 2
)

// toClient makes the map value of a client port.
func toClient(ifindex int, legs []Leg) (xconnectPort, error) {
	port := xconnectPort{Ifindex: uint32(ifindex), Kind: xconnectPortKindPORT_CLIENT}
	if len(legs) > MaxLegs {
		return port, fmt.Errorf("%d legs: %w, at most %d", len(legs), ErrTooManyLegs, MaxLegs)
	}
	for i, leg := range localFirst(legs) {
		to, err := toLeg(leg)
		if err != nil {
			return port, err
		}
		port.Legs[i] = to
		port.LegCount++
		if leg.Local {
			port.LocalCount++
		}
	}
	return port, nil
}

func toLeg(leg Leg) (xconnectLeg, error) {
	if len(leg.MAC) != 6 {
		return xconnectLeg{}, fmt.Errorf("leg %d: MAC %s is not 6 bytes", leg.IfIndex, leg.MAC)
	}
	to := xconnectLeg{Ifindex: uint32(leg.IfIndex)}
	if leg.IfIndex == 0 {
		var err error
		if to, err = throughTunnel(leg.Tunnel); err != nil {
			return to, fmt.Errorf("leg by tunnel: %w", err)
		}
	}
	to.Mac = [6]byte(leg.MAC)
	return to, nil
}

// throughTunnel makes a leg that leads through a tunnel.
func throughTunnel(t Tunnel) (xconnectLeg, error) {
	if err := t.check(); err != nil {
		return xconnectLeg{}, err
	}
	leg := xconnectLeg{Ifindex: uint32(t.Device), Flags: legTunnel, Vni: t.VNI, Remote: t.Remote.As16()}
	if !t.Remote.Unmap().Is4() {
		leg.Flags |= legIPv6
	}
	if t.Local.IsValid() {
		leg.Local = t.Local.As16()
	}
	return leg, nil
}

// fromLegs is the inverse of toClient.
func fromLegs(port xconnectPort) []Leg {
	legs := make([]Leg, 0, port.LegCount)
	for i, from := range port.Legs[:min(int(port.LegCount), MaxLegs)] {
		legs = append(legs, Leg{
			IfIndex: from.outer(), Tunnel: from.tunnel(),
			MAC: net.HardwareAddr(from.Mac[:]), Local: i < int(port.LocalCount),
		})
	}
	return legs
}

// outer is the outer end that the leg leads to, 0 if it is a tunnel.
func (l xconnectLeg) outer() int {
	if l.Flags&legTunnel != 0 {
		return 0
	}
	return int(l.Ifindex)
}

func (l xconnectLeg) tunnel() Tunnel {
	if l.Flags&legTunnel == 0 {
		return Tunnel{}
	}
	t := Tunnel{Device: int(l.Ifindex), Remote: fromAddr(l.Remote), VNI: l.Vni}
	if l.Local != [16]byte{} {
		t.Local = fromAddr(l.Local)
	}
	return t
}

// localFirst sorts the legs so that the program can prefer the local ones by
// their count, and so that the same set always gives the same value.
func localFirst(legs []Leg) []Leg {
	sorted := slices.Clone(legs)
	slices.SortFunc(sorted, func(a, b Leg) int {
		switch {
		case a.Local && !b.Local:
			return -1
		case b.Local && !a.Local:
			return 1
		}
		return cmp.Or(cmp.Compare(a.IfIndex, b.IfIndex), cmp.Compare(a.Tunnel.Device, b.Tunnel.Device),
			a.Tunnel.Remote.Compare(b.Tunnel.Remote), cmp.Compare(a.Tunnel.VNI, b.Tunnel.VNI))
	})
	return sorted
}
