// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
)

// PortStatus is a client port as it is now.
type PortStatus struct {
	NetNS     string // path at the last Connect
	Cookie    uint64 // of the namespace
	Interface string
	IfIndex   int              // inside, 0 while the interface does not exist
	Outer     int              // outer end, likewise
	MAC       net.HardwareAddr // inside
	Tunnel    *Tunnel          // to the interface, on another node
	Carrier   bool
	Legs      []LegStatus // by ID
}

// LegStatus is a leg as it is now.
type LegStatus struct {
	ID        string
	NetNS     string
	Interface string
	IfIndex   int
	Outer     int
	MAC       net.HardwareAddr
	Local     bool
	Tunnel    *Tunnel // to the endpoint, on another node
	Carrier   bool    // the endpoint's interface is up
	Active    bool    // the client's frames may take it
	Withdrawn bool
	Lost      bool // the endpoint does not answer
	Adopted   bool // from an earlier process, and not claimed yet
}

// Snapshot returns all ports and legs, by namespace and interface.
func (s *Stitcher) Snapshot(ctx context.Context) ([]PortStatus, error) {
	s.mu.Lock()
	ports := slices.Collect(maps.Values(s.ports))
	s.mu.Unlock()
	var all []PortStatus
	for _, p := range ports {
		if err := p.lock(ctx); err != nil {
			return nil, err
		}
		if len(p.legs) > 0 {
			all = append(all, p.status())
		}
		p.unlock()
	}
	slices.SortFunc(all, func(a, b PortStatus) int {
		return cmp.Or(cmp.Compare(a.NetNS, b.NetNS), cmp.Compare(a.Interface, b.Interface))
	})
	return all, nil
}

func (p *port) status() PortStatus {
	status := PortStatus{
		NetNS: p.client.in.path, Cookie: p.key.cookie, Interface: p.key.name,
		IfIndex: p.client.in.index, Outer: p.client.outer, MAC: p.client.in.mac,
		Tunnel: p.client.tunnel, Carrier: p.carrier,
	}
	if p.client.outer == 0 {
		status.IfIndex = 0
	}
	for _, id := range p.ids() {
		l := p.legs[id]
		one := LegStatus{
			ID: id, NetNS: l.endpoint.in.path, Interface: l.endpoint.in.name,
			IfIndex: l.endpoint.in.index, Outer: l.endpoint.outer, MAC: l.endpoint.in.mac,
			Local: l.want.Local, Carrier: l.carrier, Withdrawn: l.withdrawn, Lost: l.lost,
			Tunnel: l.endpoint.tunnel, Adopted: l.adopted,
		}
		for _, way := range p.set {
			one.Active = one.Active || l.endpoint.exists() && way.IfIndex == one.Outer &&
				(one.Tunnel == nil || way.Tunnel.Key() == one.Tunnel.Key())
		}
		status.Legs = append(status.Legs, one)
	}
	return status
}
