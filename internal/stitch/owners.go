// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/weft-project/weft/internal/nl"
)

// legSet remembers which interfaces are legs of endpoints, by namespace and
// index. All legs of an endpoint have its addresses: to ask the kernel about
// each of them would make a leg the slower the more there are. A namespace does
// not use an index again.
type legSet struct {
	mu    sync.Mutex
	known map[uint64]map[int]bool // by cookie
}

// of returns what is known of a namespace, not to be written.
func (set *legSet) of(cookie uint64) map[int]bool {
	set.mu.Lock()
	defer set.mu.Unlock()
	return set.known[cookie]
}

func (set *legSet) keep(cookie uint64, legs map[int]bool) {
	set.mu.Lock()
	defer set.mu.Unlock()
	if len(legs) == 0 {
		delete(set.known, cookie)
		return
	}
	if set.known == nil {
		set.known = map[uint64]map[int]bool{}
	}
	set.known[cookie] = legs
}

// checkAddresses refuses addresses that another interface of the namespace
// has: replies would leave by either. Only a VIP may be on several of our
// interfaces, because its policies keep its networks apart; shared says so.
func (a *applier) checkAddresses(missing []netip.Prefix) (shared bool, err error) {
	if len(missing) == 0 {
		return false, nil
	}
	owners, err := a.h.AddressOwners()
	if err != nil {
		return false, err
	}
	known, legs := a.legs.of(a.in.cookie), map[int]bool{}
	defer func() { a.legs.keep(a.in.cookie, legs) }()
	for _, p := range missing {
		for _, index := range owners[p.Addr()] {
			if index == a.in.index {
				continue
			}
			if known[index] || legs[index] {
				legs[index] = true
				continue
			}
			name := fmt.Sprint("interface ", index)
			link, err := a.h.LinkByIndex(index)
			if errors.Is(err, nl.ErrNotFound) {
				continue // it went while we were looking
			}
			if err == nil {
				if strings.HasPrefix(link.Alias, endpointAlias) {
					legs[index] = true
					continue
				}
				if a.want.vip(p.Addr()) && strings.HasPrefix(link.Alias, clientAlias) {
					shared = true
					continue
				}
				name = link.Name
			}
			return false, fmt.Errorf("address %s of %s is on %s: %w", p, a.in.name, name, ErrAddressTaken)
		}
	}
	return shared, nil
}
