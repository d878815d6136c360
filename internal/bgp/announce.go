// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// perMessage keeps an UPDATE below 4096 bytes whatever the prefixes are.
const perMessage = 150

const localPreference = 100

// hops are the next hops that a prefix is announced with; linkLocal only beside a
// global one.
type hops struct{ global, linkLocal netip.Addr }

func comparePrefix(a, b netip.Prefix) int { return a.Compare(b) }

// announcement returns what the gateway is to have of us.
func (p *peer) announcement(c *conn) map[netip.Prefix]hops {
	local := addressOf(c.LocalAddr()).WithZone("")
	v4, v6 := p.have.families()
	hop4, hop6 := p.have.NextHop4, p.have.NextHop6
	if !hop4.IsValid() && local.Is4() {
		hop4 = local
	}
	if !hop6.IsValid() && local.Is6() {
		hop6 = local
	}
	if p.have.ExtendedNextHop && c.open.extendedNextHop && hop6.IsValid() {
		hop4 = hop6
	}
	wanted := make(map[netip.Prefix]hops, len(p.have.announce))
	for _, prefix := range p.have.announce {
		switch {
		case prefix.Addr().Is4() && v4 && c.open.v4 && hop4.IsValid():
			wanted[prefix] = hops{global: hop4}
		case prefix.Addr().Is6() && v6 && c.open.v6 && hop6.IsValid():
			wanted[prefix] = hops{global: hop6}
		}
	}
	return wanted
}

// announce brings the gateway from what it has of us to what it is to have, and
// tells it once that this is all (End-of-RIB).
func (p *peer) announce(c *conn) {
	wanted := p.announcement(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone4, gone6 []netip.Prefix
	for prefix := range p.sent {
		if _, ok := wanted[prefix]; ok {
			continue
		}
		delete(p.sent, prefix)
		if prefix.Addr().Is4() {
			gone4 = append(gone4, prefix)
		} else {
			gone6 = append(gone6, prefix)
		}
	}
	added := map[hops]*[2][]netip.Prefix{}
	for prefix, hop := range wanted {
		if old, ok := p.sent[prefix]; ok && old == hop {
			continue
		}
		p.sent[prefix] = hop
		if added[hop] == nil {
			added[hop] = &[2][]netip.Prefix{}
		}
		i := family(prefix.Addr().Is6())
		added[hop][i] = append(added[hop][i], prefix)
	}
	p.updates(c, gone4, p.withdrawal4)
	p.updates(c, gone6, p.withdrawal6)
	for hop, prefixes := range added {
		for _, list := range prefixes {
			p.updates(c, list, func(chunk []bgp.PathNLRI, v6 bool) (*bgp.BGPMessage, error) {
				return p.have.reach(chunk, v6, hop, c.open.fourByte)
			})
		}
	}
	if p.endOfRIB || p.have.restart.hold {
		return
	}
	p.endOfRIB = true
	v4, v6 := p.have.families()
	if v4 && c.open.v4 {
		p.say(c, bgp.NewEndOfRib(bgp.RF_IPv4_UC))
	}
	if v6 && c.open.v6 {
		p.say(c, bgp.NewEndOfRib(bgp.RF_IPv6_UC))
	}
}

// updates sends the prefixes, which are of one family, in as many messages as it
// takes.
func (p *peer) updates(c *conn, prefixes []netip.Prefix, build func([]bgp.PathNLRI, bool) (*bgp.BGPMessage, error)) {
	slices.SortFunc(prefixes, comparePrefix)
	for chunk := range slices.Chunk(prefixes, perMessage) {
		list := make([]bgp.PathNLRI, 0, len(chunk))
		for _, prefix := range chunk {
			nlri, err := bgp.NewIPAddrPrefix(prefix)
			if err != nil {
				p.log.Error("prefix can not be announced", "prefix", prefix, "error", err)
				continue
			}
			list = append(list, bgp.PathNLRI{NLRI: nlri})
		}
		message, err := build(list, chunk[0].Addr().Is6())
		if err == nil {
			err = c.send(message)
		}
		if err != nil {
			p.log.Error("update to the gateway can not be made", "prefixes", chunk, "error", err)
			continue
		}
		p.report.UpdatesSent++
	}
}

func (p *peer) withdrawal4(list []bgp.PathNLRI, _ bool) (*bgp.BGPMessage, error) {
	return bgp.NewBGPUpdateMessage(list, nil, nil), nil
}

func (p *peer) withdrawal6(list []bgp.PathNLRI, _ bool) (*bgp.BGPMessage, error) {
	unreach, err := bgp.NewPathAttributeMpUnreachNLRI(bgp.RF_IPv6_UC, list)
	if err != nil {
		return nil, err
	}
	return bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{unreach}, nil), nil
}

// reach makes an UPDATE that announces the prefixes.
func (t target) reach(list []bgp.PathNLRI, v6 bool, hop hops, fourByte bool) (*bgp.BGPMessage, error) {
	attributes := append([]bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP)}, t.path(fourByte)...)
	if t.internal() {
		attributes = append(attributes, bgp.NewPathAttributeLocalPref(localPreference))
	}
	if !v6 && hop.global.Is4() {
		next, err := bgp.NewPathAttributeNextHop(hop.global)
		if err != nil {
			return nil, err
		}
		return bgp.NewBGPUpdateMessage(nil, append(attributes, next), list), nil
	}
	of := bgp.RF_IPv4_UC
	if v6 {
		of = bgp.RF_IPv6_UC
	}
	reach, err := bgp.NewPathAttributeMpReachNLRI(of, list, hop.global, hop.linkLocal)
	if err != nil {
		return nil, err
	}
	return bgp.NewBGPUpdateMessage(nil, append([]bgp.PathAttributeInterface{reach}, attributes...), nil), nil
}

// path is our AS path: empty inside of the AS, else our AS, which a gateway that
// knows only two bytes gets in AS4_PATH beside (RFC 6793, 4.2.2).
func (t target) path(fourByte bool) []bgp.PathAttributeInterface {
	var wide, narrow []bgp.AsPathParamInterface
	var extra []bgp.PathAttributeInterface
	if !t.internal() {
		wide = append(wide, bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{t.LocalASN}))
		short := uint16(bgp.AS_TRANS)
		if t.LocalASN <= 65535 {
			short = uint16(t.LocalASN)
		} else {
			extra = append(extra, bgp.NewPathAttributeAs4Path([]*bgp.As4PathParam{bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{t.LocalASN})}))
		}
		narrow = append(narrow, bgp.NewAsPathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, []uint16{short}))
	}
	if fourByte {
		return []bgp.PathAttributeInterface{bgp.NewPathAttributeAsPath(wide)}
	}
	return append([]bgp.PathAttributeInterface{bgp.NewPathAttributeAsPath(narrow)}, extra...)
}

// refresh announces everything of a family again (RFC 2918).
func (p *peer) refresh(c *conn, body *bgp.BGPRouteRefresh) {
	if !unicast(body.AFI, body.SAFI) {
		return
	}
	p.mu.Lock()
	for prefix := range p.sent {
		if prefix.Addr().Is6() == (body.AFI == bgp.AFI_IP6) {
			delete(p.sent, prefix)
		}
	}
	p.mu.Unlock()
	p.announce(c)
}
