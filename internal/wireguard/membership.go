// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"maps"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// pair is a generation here and a key there.
type pair struct {
	generation *generation
	peer       wgtypes.Key
}

// membership is what a connection has joined.
type membership struct {
	send    pair          // its packets leave by it
	told    pair          // what both nodes have told each other last
	since   time.Time     // when told has last changed
	holds   map[pair]bool // all that packets may come by, send and told included
	address netip.AddrPort
}

// hold makes m need exactly the pairs; those of the peers that nobody needs any
// more are returned.
func (m *membership) hold(id string, pairs map[pair]bool) (free []pair) {
	for p := range pairs {
		p.generation.peers[p.peer].ids[id] = true
	}
	for p := range m.holds {
		if pairs[p] {
			continue
		}
		peer := p.generation.peers[p.peer]
		delete(peer.ids, id)
		if len(peer.ids) == 0 && !peer.kept {
			free = append(free, p)
		}
	}
	m.holds = maps.Clone(pairs)
	return free
}

// former returns the other node's addresses besides the one of told.
func (m *membership) former() []netip.Addr {
	var found []netip.Addr
	seen := map[wgtypes.Key]bool{m.told.peer: true}
	for p := range m.holds {
		if !seen[p.peer] {
			seen[p.peer] = true
			found = append(found, p.generation.peers[p.peer].inner)
		}
	}
	return found
}
