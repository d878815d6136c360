// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"net/netip"
	"slices"
	"time"
)

// Claim is a wish for addresses.
type Claim struct {
	Owner, User string
	// Want are addresses that the owner would like; those outside the prefixes
	// are ignored.
	Want []netip.Addr
	// Insist refuses when one of them is not free; else another one is given.
	Insist  bool
	Exclude []netip.Prefix
	// Lease is how long from now the user may hold the addresses when it is not
	// heard of again; 0: no longer than until it is released.
	Lease time.Duration
}

// Grant is the answer to a claim.
type Grant struct {
	Addresses []netip.Addr // in the order of the prefixes
	News      bool         // for the ledger: Store is to be called
	Undo      func()
}

// Claim gives the owner an address of every prefix and notes that the user holds
// them; both may be repeated. Addresses that the owner has already stay the same
// unless Want names another one of the same prefix or Exclude covers them. One
// that the user had instead is held until its lease has ended. An address in
// Want that is not free is a TakenError if Claim.Insist. On an error nothing has
// changed.
//
// Grant.Undo takes the claim back; it must be called before another one of the
// user.
func (p *Pool) Claim(c Claim) (Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.purge(now)
	if err := p.lookAtOwn(c.User, now); err != nil {
		return Grant{}, err
	}
	p.noteUser(c.User, now)
	had := slices.Clone(p.owners[c.Owner])
	chosen := make([]netip.Addr, len(p.ranges))
	for i := range p.ranges {
		var err error
		if chosen[i], err = p.choose(i, c, now); err != nil {
			return Grant{}, err
		}
	}
	before := p.of(c.User)
	for addr, was := range before {
		if was.live && !slices.Contains(chosen, addr) {
			ended := was.hold
			ended.live = false
			p.places[addr].holds[c.User] = ended
		}
	}
	news := false
	for _, addr := range chosen {
		was := before[addr]
		h := hold{live: true, until: was.until, lease: was.lease}
		if c.Lease > 0 && h.until.Before(now.Add(c.Lease+Margin)) {
			h.until = now.Add(c.Lease + Margin)
		}
		if h.lease < c.Lease {
			// Rounded, so that not every refresh is news.
			h.lease = (c.Lease + time.Minute - 1).Truncate(time.Minute)
		}
		if h.lease != was.lease || was.owner != c.Owner {
			news = true
		}
		p.put(addr, c.Owner, c.User, h)
	}
	if news {
		p.changed++
	}
	p.owners[c.Owner] = slices.Clone(chosen)
	return Grant{Addresses: slices.Clone(chosen), News: news, Undo: func() { p.undo(c, chosen, had, before) }}, nil
}

// held is a hold, with the owner of the place.
type held struct {
	hold
	owner string
}

// of returns what a user holds. Called with the lock held.
func (p *Pool) of(user string) map[netip.Addr]held {
	holds := map[netip.Addr]held{}
	for addr := range p.users[user] {
		l := p.places[addr]
		holds[addr] = held{l.holds[user], l.owner}
	}
	return holds
}

func (p *Pool) undo(c Claim, chosen, had []netip.Addr, before map[netip.Addr]held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(before) == 0 {
		delete(p.claimed, c.User)
	}
	for _, addr := range chosen {
		if _, ok := before[addr]; !ok {
			p.drop(addr, c.User)
		}
	}
	for addr, was := range before {
		l := p.places[addr]
		if l == nil || l.owner == was.owner || l.heldBy(c.User) {
			p.put(addr, was.owner, c.User, was.hold)
		} else if _, ok := l.holds[c.User]; ok { // with others of the new owner
			l.holds[c.User] = was.hold
		} // else its lease has ended meanwhile, and somebody else got it
	}
	p.point(c.Owner, had)
	for addr, was := range before {
		if was.owner != c.Owner {
			p.point(was.owner, []netip.Addr{addr})
		}
	}
}

// point makes addresses those of the owner again, as far as they are its.
func (p *Pool) point(owner string, addrs []netip.Addr) {
	for _, addr := range addrs {
		if l := p.places[addr]; l != nil && l.owner == owner {
			if p.owners[owner] == nil {
				p.owners[owner] = make([]netip.Addr, len(p.ranges))
			}
			p.owners[owner][p.rangeOf(addr)] = addr
		}
	}
}

// Release ends what a user holds: at once what it has vacated, that is no
// interface has it any more, and with its lease what not. It may be repeated.
func (p *Pool) Release(user string, vacated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for addr, was := range p.of(user) {
		if vacated {
			p.drop(addr, user)
			continue
		}
		h := was.hold
		h.live = false
		p.places[addr].holds[user] = h
		p.at(addr, now)
	}
}
