// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Margin is how much longer than its lease an address is kept from others: the
// kernel takes an address away up to two seconds late, and two machines' clocks
// do not run alike.
const Margin = 5 * time.Second

// Pool gives addresses of prefixes to owners, each owner one of every prefix.
// An owner's address follows from its name as far as others leave it free, so
// that it is likely to be the same after a restart.
//
// Users (connections) of an owner hold its addresses. An address is another's
// only when each of its holds has ended: at once when the user has left the
// address, else with the lease.
type Pool struct {
	ranges []*addressRange
	ledger *Ledger // nil: nothing is written
	// legs tells which addresses leg interfaces are there for; nil: nobody knows.
	legs Legs

	writing sync.Mutex // one writes to the ledger; taken before mu

	mu      sync.Mutex
	places  map[netip.Addr]*place
	owners  map[string][]netip.Addr // in the order of ranges; invalid where there is none
	users   map[string]map[netip.Addr]bool
	purged  time.Time
	longest time.Duration   // lease of an earlier run
	settled time.Time       // until then it may hold what is not known here
	claimed map[string]bool // users of this run, until then
	sealed  time.Time       // until then nothing is given that was not claimed before
	changed uint64          // counts what the ledger must know before it is answered
	written uint64
}

// addressRange is one prefix.
type addressRange struct {
	prefix      netip.Prefix
	own         netip.Addr // the replica's
	first, last netip.Addr // that may be given away
}

// NewPool makes a pool of prefixes, which must not overlap. The first usable
// address of each (not the one that names the network) is the replica's own.
func NewPool(prefixes ...netip.Prefix) (*Pool, error) {
	p := &Pool{places: map[netip.Addr]*place{}, owners: map[string][]netip.Addr{}, users: map[string]map[netip.Addr]bool{}}
	if len(prefixes) == 0 {
		return nil, errors.New("no prefix to assign addresses from")
	}
	for i, prefix := range prefixes {
		if !prefix.IsValid() || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("prefix %v is not valid", prefix)
		}
		prefix = prefix.Masked()
		for _, other := range prefixes[:i] {
			if prefix.Overlaps(other) {
				return nil, fmt.Errorf("prefix %s overlaps prefix %s", prefix, other)
			}
		}
		if prefix.IsSingleIP() {
			return nil, fmt.Errorf("prefix %s has no room for a workload", prefix)
		}
		r := &addressRange{prefix: prefix, own: prefix.Addr(), last: lastOf(prefix)}
		if prefix.Bits() < prefix.Addr().BitLen()-1 { // RFC 3021, RFC 6164: two addresses are both usable
			r.own = r.own.Next()
			if prefix.Addr().Is4() {
				r.last = r.last.Prev() // broadcast
			}
		}
		r.first = r.own.Next()
		p.ranges = append(p.ranges, r)
	}
	return p, nil
}

// Own returns the replica's own address of every prefix.
func (p *Pool) Own() []netip.Addr {
	own := make([]netip.Addr, len(p.ranges))
	for i, r := range p.ranges {
		own[i] = r.own
	}
	return own
}

// Contains tells whether the address is of one of the prefixes.
func (p *Pool) Contains(addr netip.Addr) bool { return p.rangeOf(addr) >= 0 }

func (p *Pool) rangeOf(addr netip.Addr) int {
	return slices.IndexFunc(p.ranges, func(r *addressRange) bool { return r.prefix.Contains(addr) })
}
