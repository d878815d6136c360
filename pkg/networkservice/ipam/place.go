// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// place is an address that is not free.
type place struct {
	owner string
	holds map[string]hold // by user
}

// hold is what keeps one user's address from others.
type hold struct {
	live  bool          // the user has not been released
	until time.Time     // when the lease and the margin are over; of the monotonic clock
	lease time.Duration // the longest one that was granted
	leg   bool          // of an earlier run, whose interface may be there still
}

func (h hold) holds(now time.Time) bool { return h.live || now.Before(h.until) }

// endsAt returns when the last hold ends, false while a user is live.
func (l *place) endsAt() (time.Time, bool) {
	var last time.Time
	for _, h := range l.holds {
		if h.live {
			return time.Time{}, false
		}
		if h.until.After(last) {
			last = h.until
		}
	}
	return last, true
}

// heldBy reports whether nobody but that user holds it.
func (l *place) heldBy(user string) bool {
	for name := range l.holds {
		if name != user {
			return false
		}
	}
	return true
}

// at returns what is at an address, nil when it is free. Called with the lock
// held.
func (p *Pool) at(addr netip.Addr, now time.Time) *place {
	l := p.places[addr]
	if l == nil {
		return nil
	}
	for user, h := range l.holds {
		if h.holds(now) {
			continue
		}
		if h.leg && p.present(addr, user) {
			h.until = now.Add(Margin) // and then it is looked at again
			l.holds[user] = h
			continue
		}
		p.drop(addr, user)
	}
	return p.places[addr]
}

// present reports whether the leg interface of an earlier run is there still,
// true when that cannot be told.
func (p *Pool) present(addr netip.Addr, user string) bool {
	leg, err := p.legs.At(addr)
	return err != nil || leg == user
}

// purge forgets what is free by now; from time to time is enough, because
// whoever looks at an address sees for himself.
func (p *Pool) purge(now time.Time) {
	if now.Sub(p.purged) < time.Minute {
		return
	}
	p.purged = now
	for addr := range p.places {
		p.at(addr, now)
	}
}

// put notes a hold. Called with the lock held.
func (p *Pool) put(addr netip.Addr, owner, user string, h hold) {
	l := p.places[addr]
	if l == nil {
		l = &place{owner: owner, holds: map[string]hold{}}
		p.places[addr] = l
	}
	if l.owner != owner {
		p.forget(addr, l.owner)
		l.owner = owner
	}
	l.holds[user] = h
	if p.users[user] == nil {
		p.users[user] = map[netip.Addr]bool{}
	}
	p.users[user][addr] = true
}

// drop ends a user's hold. Called with the lock held.
func (p *Pool) drop(addr netip.Addr, user string) {
	l := p.places[addr]
	if l == nil {
		return
	}
	delete(l.holds, user)
	delete(p.users[user], addr)
	if len(p.users[user]) == 0 {
		delete(p.users, user)
	}
	if len(l.holds) == 0 {
		delete(p.places, addr)
		p.forget(addr, l.owner)
	}
}

// forget takes an address from its owner.
func (p *Pool) forget(addr netip.Addr, owner string) {
	i := p.rangeOf(addr)
	if had := p.owners[owner]; had == nil || had[i] != addr {
		return
	}
	p.owners[owner][i] = netip.Addr{}
	if !slices.ContainsFunc(p.owners[owner], netip.Addr.IsValid) {
		delete(p.owners, owner)
	}
}
