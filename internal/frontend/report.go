// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/bgp"
)

// Status implements Speaker.
func (f *Frontend) Status() Status {
	// Not with mu, which BFD waits for.
	peers, sessions := map[string]bgp.PeerStatus{}, map[string]bfdnet.Status{}
	for _, p := range f.bgp.Status() {
		peers[p.Name] = p
	}
	for _, s := range f.bfd.Status() {
		sessions[s.Name] = s
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return Status{Problem: "the frontend is closed"}
	}
	s := Status{Problem: cmp.Or(f.iface.problem, f.problem, f.table.problem())}
	if f.speech != nil && s.Problem == "" {
		s.Problem = f.speech.Error()
	}
	for _, g := range f.gateways {
		status := GatewayStatus{Name: g.Name, Address: g.Address, Up: g.up, Reason: g.reason}
		if g.BGP != nil {
			p := peers[g.Name]
			status.BGP = reportBGP(p)
			if p.ListenError != "" && s.Problem == "" {
				s.Problem = p.ListenError
			}
		}
		if g.BFD != nil {
			status.BFD = reportBFD(sessions[g.Name])
		}
		s.Gateways = append(s.Gateways, status)
	}
	slices.SortFunc(s.Gateways, func(a, b GatewayStatus) int { return cmp.Compare(a.Name, b.Name) })
	f.reportRoutes(&s)
	return s
}

// reportRoutes tells what is installed. The caller holds mu.
func (f *Frontend) reportRoutes(s *Status) {
	for prefix, installed := range f.table.installed {
		route := Route{Prefix: prefix}
		for _, hop := range hopsOf(installed) {
			route.NextHops = append(route.NextHops, hop.Gateway)
		}
		for _, g := range f.gateways {
			if g.up && len(g.learned[prefix]) > 0 {
				route.Gateways = append(route.Gateways, g.Name)
			}
		}
		slices.Sort(route.Gateways)
		slices.SortFunc(route.NextHops, netip.Addr.Compare)
		switch prefix {
		case default4:
			s.Default4 = route.NextHops
		case default6:
			s.Default6 = route.NextHops
		default:
			s.Specific = true
		}
		s.Routes = append(s.Routes, route)
	}
	slices.SortFunc(s.Routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
}

func reportBGP(p bgp.PeerStatus) *BGPStatus {
	return &BGPStatus{
		State: string(cmp.Or(p.State, bgp.Idle)), Since: p.Since, LastError: p.LastError, Flaps: p.Flaps, Announced: p.Announced,
		Received: p.Received, Refused: p.Refused, Refusal: p.Refusal,
		UpdatesSent: p.UpdatesSent, UpdatesSeen: p.UpdatesSeen,
		HoldTime: p.HoldTime, Keepalive: p.Keepalive, GracefulRestart: p.GracefulRestart,
	}
}

func reportBFD(b bfdnet.Status) *BFDStatus {
	if b.Name == "" {
		return &BFDStatus{State: "down", RemoteState: "down", LastError: "waits for an address of the interface"}
	}
	return &BFDStatus{
		State: b.State.String(), RemoteState: b.RemoteState.String(),
		Diagnostic: b.Diag.String(), RemoteDiagnostic: b.RemoteDiag.String(),
		Since: b.Since, Flaps: b.Flaps, TxInterval: b.TxInterval, DetectionTime: b.DetectionTime,
		Sent: b.Sent, Received: b.Received, Discarded: b.Discarded, LastError: b.LastError,
	}
}
