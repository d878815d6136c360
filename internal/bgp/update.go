// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// change is what an UPDATE says of prefixes.
type change struct {
	withdrawn []bgp.PathNLRI
	reached   []bgp.PathNLRI
	nextHop   netip.Addr
	linkLocal netip.Addr
}

// update takes in an UPDATE. One that is malformed, but whose prefixes could be
// read, withdraws them (RFC 7606).
func (p *peer) update(c *conn, body *bgp.BGPUpdate, malformed *bgp.MessageError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.UpdatesSeen++
	if p.want.Disabled != "" {
		return // its routes are gone already
	}
	if end, of := body.IsEndOfRib(); end {
		p.endOfStale(of)
		return
	}
	broken := malformed != nil && malformed.ErrorHandling == bgp.ERROR_HANDLING_TREAT_AS_WITHDRAW
	changes, why := p.want.read(body)
	if broken {
		why = refusedBroken
		p.log.Warn("the gateway sent a malformed update; its prefixes count as withdrawn", "error", malformed.Error())
	}
	local := addressOf(c.LocalAddr())
	for _, change := range changes {
		for _, nlri := range change.withdrawn {
			if prefix, ok := prefixOf(nlri); ok {
				p.rib.remove(prefix)
			}
		}
		for _, nlri := range change.reached {
			if prefix, ok := prefixOf(nlri); ok {
				p.rib.put(prefix, p.want.learn(prefix, change, why, local), p.want.MaxPrefixes)
			}
		}
	}
	p.rib.settle(p.want.MaxPrefixes)
}

// endOfStale removes what the gateway had before it restarted, and has no more.
func (p *peer) endOfStale(of bgp.Family) {
	if p.staleUntil.IsZero() || of != bgp.RF_IPv4_UC && of != bgp.RF_IPv6_UC {
		return
	}
	p.rib.removeStale(of == bgp.RF_IPv6_UC)
	p.rib.settle(p.want.MaxPrefixes)
	for _, l := range p.rib.entries {
		if l.stale {
			return
		}
	}
	p.staleUntil = time.Time{}
}

func (t target) learn(prefix netip.Prefix, c change, why string, local netip.Addr) learned {
	hop, bad := t.nextHopOf(c.nextHop, c.linkLocal, prefix.Addr().Is6(), local)
	l := learned{nextHop: hop, refused: why}
	if l.refused == "" {
		l.refused = refusePrefix(prefix, t.announce)
	}
	if l.refused == "" {
		l.refused = bad
	}
	return l
}

// read sorts out what an UPDATE says, and why none of its paths is good.
func (t target) read(body *bgp.BGPUpdate) ([]change, string) {
	classic := change{withdrawn: body.WithdrawnRoutes, reached: body.NLRI}
	changes := []change{}
	var origin, path bool
	why := ""
	for _, attribute := range body.PathAttributes {
		switch a := attribute.(type) {
		case *bgp.PathAttributeOrigin:
			origin = true
		case *bgp.PathAttributeAsPath:
			path = true
			for _, segment := range a.Value {
				if slices.Contains(segment.GetAS(), t.LocalASN) {
					why = refusedLoop
				}
			}
		case *bgp.PathAttributeNextHop:
			classic.nextHop = a.Value
		case *bgp.PathAttributeMpReachNLRI:
			if unicast(a.AFI, a.SAFI) {
				changes = append(changes, change{reached: a.Value, nextHop: a.Nexthop, linkLocal: a.LinkLocalNexthop})
			}
		case *bgp.PathAttributeMpUnreachNLRI:
			if unicast(a.AFI, a.SAFI) {
				changes = append(changes, change{withdrawn: a.Value})
			}
		}
	}
	if !origin || !path {
		why = refusedBroken
	}
	return append(changes, classic), why
}

func unicast(afi uint16, safi uint8) bool {
	return safi == bgp.SAFI_UNICAST && (afi == bgp.AFI_IP || afi == bgp.AFI_IP6)
}
