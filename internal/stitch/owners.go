// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/weft-project/weft/internal/nl"
)

// legSet remembers which interfaces are legs of endpoints, by namespace and
// index, and one of them that had been checked. All legs of an endpoint have its
// addresses: to look at each of them would make a leg the slower the more there
// are. A namespace does not use an index again.
type legSet struct {
	mu    sync.Mutex
	known map[uint64]legsOf // by cookie
}

type legsOf struct {
	indices map[int]bool
	checked int // one that was found to have its addresses rightly; 0: none
}

// of returns what is known of a namespace, not to be written.
func (set *legSet) of(cookie uint64) legsOf {
	set.mu.Lock()
	defer set.mu.Unlock()
	return set.known[cookie]
}

func (set *legSet) keep(cookie uint64, legs legsOf) {
	set.mu.Lock()
	defer set.mu.Unlock()
	if len(legs.indices) == 0 && legs.checked == 0 {
		delete(set.known, cookie)
		return
	}
	if set.known == nil {
		set.known = map[uint64]legsOf{}
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
	known, legs := a.legs.of(a.in.cookie), legsOf{indices: map[int]bool{}}
	if missing, err = a.unchecked(missing, known); err != nil || len(missing) == 0 {
		return false, err
	}
	owners, err := a.h.AddressOwners()
	if err != nil {
		return false, err
	}
	defer func() { a.legs.keep(a.in.cookie, legs) }()
	for _, p := range missing {
		for _, index := range owners[p.Addr()] {
			if index == a.in.index {
				continue
			}
			isLeg := known.indices[index] || legs.indices[index]
			if !isLeg {
				ours, gone, err := a.mayHave(index, p)
				if err != nil {
					return false, err
				}
				if gone {
					continue
				}
				if isLeg = ours == endpointAlias; !isLeg {
					shared = true
				}
			}
			if isLeg {
				legs.indices[index], legs.checked = true, index
			}
		}
	}
	return shared, nil
}

// unchecked leaves out what a leg of the namespace has that was checked before:
// nobody else had the address when that one got it, and who came later took it
// from us.
func (a *applier) unchecked(missing []netip.Prefix, known legsOf) ([]netip.Prefix, error) {
	if known.checked == 0 {
		return missing, nil
	}
	has, err := a.h.Addresses(known.checked) // none, when it is gone
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(missing), func(p netip.Prefix) bool { return slices.Contains(has, p) }), nil
}

// mayHave returns the kind of our interfaces that another one with the address is,
// by its alias, or that it is gone.
func (a *applier) mayHave(index int, p netip.Prefix) (alias string, gone bool, err error) {
	name := fmt.Sprint("interface ", index)
	link, err := a.h.LinkByIndex(index)
	if errors.Is(err, nl.ErrNotFound) {
		return "", true, nil // it went while we were looking
	}
	if err == nil {
		if strings.HasPrefix(link.Alias, endpointAlias) {
			return endpointAlias, false, nil
		}
		if a.want.vip(p.Addr()) && strings.HasPrefix(link.Alias, clientAlias) {
			return clientAlias, false, nil
		}
		name = link.Name
	}
	return "", false, fmt.Errorf("address %s of %s is on %s: %w", p, a.in.name, name, ErrAddressTaken)
}
