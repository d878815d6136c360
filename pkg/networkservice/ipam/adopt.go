// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Legs tells which addresses the leg interfaces in the endpoint's namespace are
// there for. The interfaces' names are those of the users.
type Legs interface {
	// All returns them all, with the interfaces' names.
	All() (map[netip.Addr]string, error)
	// At returns the interface that is there for an address, "" when none is.
	At(addr netip.Addr) (string, error)
	// Of returns the addresses of an interface; none when there is no interface.
	Of(name string) ([]netip.Addr, error)
}

// Past is what earlier runs of an endpoint may have left.
type Past struct {
	// Ledger has the holds that were written; nil: none were.
	Ledger *Ledger
	Legs   Legs // nil: nobody knows
	// Longest is the longest lease that an earlier run can have granted.
	Longest time.Duration
	Log     *slog.Logger
}

// Adopt keeps what earlier runs have given from others, until those who have it
// claim it again, or until it is free: when the longest lease has passed and the
// leg interface, if there is one, has gone. It is called before the first Claim;
// from then on the ledger is kept.
//
// A ledger that cannot be read seals the pool until the longest lease has
// passed: addresses that connections had before are given, others are not.
func (p *Pool) Adopt(past Past) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.legs, p.ledger = past.Legs, past.Ledger
	p.longest, p.settled = past.Longest, now.Add(past.Longest+Margin)
	if err := p.lookAtLegs(); err != nil {
		return err
	}
	if p.ledger == nil {
		return nil
	}
	content, err := p.ledger.read()
	if err != nil {
		past.Log.Error("the leases of an earlier run cannot be read; only connections that had addresses before get them, others after the longest lease",
			"file", p.ledger.path, "lease", past.Longest, "err", err)
		p.ledger.keepCopy()
	}
	if err != nil || content.Sealed {
		p.sealed = p.settled
	}
	for _, r := range content.Holds {
		if p.rangeOf(r.Address) < 0 {
			continue // of prefixes that were configured before
		}
		h := hold{lease: time.Duration(r.Seconds) * time.Second}
		if l := p.places[r.Address]; l != nil {
			h.leg = l.holds[r.User].leg
		}
		h.until = now.Add(h.lease + Margin)
		p.put(r.Address, r.Owner, r.User, h)
		p.point(r.Owner, []netip.Addr{r.Address})
	}
	p.changed++
	if err != nil {
		// Until the next write the unreadable file is what another start finds.
		if err := p.ledger.write(p.content(now)); err != nil {
			past.Log.Error("storing leases", "err", err)
		}
	}
	return nil
}

// lookAtLegs keeps addresses that legs of an earlier run have. Called with the
// lock held.
func (p *Pool) lookAtLegs() error {
	if p.legs == nil {
		return nil
	}
	legs, err := p.legs.All()
	if err != nil {
		return fmt.Errorf("find the addresses of legs of an earlier run: %w", err)
	}
	for addr, leg := range legs {
		p.keepLeg(addr, leg)
	}
	return nil
}

// keepLeg keeps an address that a leg of an earlier run has.
func (p *Pool) keepLeg(addr netip.Addr, leg string) {
	i := p.rangeOf(addr)
	if i >= 0 && addr != p.ranges[i].own && !p.claimed[leg] && (p.places[addr] == nil || p.places[addr].lostTo(leg)) {
		p.put(addr, "interface "+leg+" of an earlier run", leg, hold{until: p.settled, lease: p.longest, leg: true})
	}
}

// lookAtOwn looks for a user's own leg, as lookAt does for an address.
func (p *Pool) lookAtOwn(user string, now time.Time) error {
	if p.legs == nil || !now.Before(p.settled) {
		return nil
	}
	addrs, err := p.legs.Of(user)
	if err != nil {
		return fmt.Errorf("find the addresses of leg %s of an earlier run: %w", user, err)
	}
	for _, addr := range addrs {
		p.keepLeg(addr, user)
	}
	return nil
}

// lookAt keeps an address when a leg of an earlier run has it that was being made
// when that run ended, and has come after Adopt. Therefore it is asked before an
// address is given as long as there may be leases of that run: about this one
// only, because there may be thousands of legs.
func (p *Pool) lookAt(addr netip.Addr, now time.Time) error {
	if p.legs == nil || !now.Before(p.settled) || p.places[addr] != nil && !p.places[addr].lostTo("") {
		return nil
	}
	leg, err := p.legs.At(addr)
	if err != nil {
		return fmt.Errorf("find whether a leg of an earlier run has %s: %w", addr, err)
	}
	if leg != "" {
		p.keepLeg(addr, leg)
	}
	return nil
}

// noteUser notes that a leg interface is not of an earlier run: it may be there
// for a moment after its user was released.
func (p *Pool) noteUser(user string, now time.Time) {
	switch {
	case p.legs == nil || !now.Before(p.settled):
		p.claimed = nil
	case p.claimed == nil:
		p.claimed = map[string]bool{user: true}
	default:
		p.claimed[user] = true
	}
}

// lostTo reports whether nobody has claimed the address in this run, and its leg
// is another one meanwhile.
func (l *place) lostTo(leg string) bool {
	for user, h := range l.holds {
		if h.live || !h.leg || user == leg {
			return false
		}
	}
	return true
}
