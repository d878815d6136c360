// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
)

// targetPort returns the destination port that the target of a flow sees.
func (w World) targetPort(r *classify.Rule, f flow) uint16 {
	if r.TargetPort != 0 {
		return r.TargetPort
	}
	for _, n := range w.nats(f.dst, f.proto) {
		if n.Port == f.dport {
			return n.TargetPort
		}
	}
	return f.dport
}

// outsidePort returns the port that clients know a target's port by.
func (w World) outsidePort(vip netip.Addr, proto uint8, port uint16) uint16 {
	for _, r := range w.Set.Rules {
		if r.TargetPort != 0 && r.TargetPort == port && contains(r.VIPs, vip) &&
			(len(r.Protocols) == 0 || slices.Contains(r.Protocols, proto)) {
			return r.DestinationPorts[0].First
		}
	}
	for _, n := range w.nats(vip, proto) {
		if n.TargetPort == port {
			return n.Port
		}
	}
	return port
}

// nats returns the NATs in force for an address: of those with the same port
// that of the longest prefix.
func (w World) nats(vip netip.Addr, proto uint8) []classify.NAT {
	best := make(map[uint16]classify.NAT)
	for _, n := range w.Set.NATs {
		if !n.VIP.Contains(vip) || n.Protocol != proto {
			continue
		}
		if other, ok := best[n.Port]; !ok || n.VIP.Bits() > other.VIP.Bits() {
			best[n.Port] = n
		}
	}
	list := make([]classify.NAT, 0, len(best))
	for _, n := range best {
		list = append(list, n)
	}
	return list
}
