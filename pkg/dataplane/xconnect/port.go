// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"fmt"
	"slices"
)

// toClient makes the map value of a client port.
func toClient(ifindex int, legs []Leg) (xconnectPort, error) {
	port := xconnectPort{Ifindex: uint32(ifindex), Kind: xconnectPortKindPORT_CLIENT}
	if len(legs) > MaxLegs {
		return port, fmt.Errorf("%d legs: %w, at most %d", len(legs), ErrTooManyLegs, MaxLegs)
	}
	for i, leg := range localFirst(legs) {
		if len(leg.MAC) != 6 {
			return port, fmt.Errorf("leg %d: MAC %s is not 6 bytes", leg.IfIndex, leg.MAC)
		}
		port.Legs[i].Ifindex = uint32(leg.IfIndex)
		port.Legs[i].Mac = [6]byte(leg.MAC)
		port.LegCount++
		if leg.Local {
			port.LocalCount++
		}
	}
	return port, nil
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
		return a.IfIndex - b.IfIndex
	})
	return sorted
}
