// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"time"
)

// ErrExhausted says that a prefix has no free address left.
var ErrExhausted = errors.New("no free address")

// TakenError says that an address that was asked for belongs to somebody else.
type TakenError struct {
	Address netip.Addr
	Holder  string // its owner, or what keeps it from being given away
	// For is for how long an owner that is gone may hold it; 0: it is not gone.
	For time.Duration
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("address %s is taken by %s", e.Address, e.Holder)
	if e.For > 0 {
		text += fmt.Sprintf(", which is gone and may hold it for another %s", seconds(e.For))
	}
	return text
}

func seconds(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// choose finds the address of one range for a claim. Called with the lock held.
func (p *Pool) choose(i int, c Claim, now time.Time) (netip.Addr, error) {
	r := p.ranges[i]
	for _, addr := range c.Want {
		if !r.prefix.Contains(addr) {
			continue
		}
		err := p.taken(r, addr, c, now)
		if err == nil {
			return addr, nil
		}
		if c.Insist {
			return netip.Addr{}, err
		}
	}
	// taken may find that the address is the owner's no more.
	if had := slices.Clone(p.owners[c.Owner]); had != nil && had[i].IsValid() && p.taken(r, had[i], c, now) == nil {
		return had[i], nil
	}
	// The owner's name may be new, or that of an earlier run not known.
	for _, addr := range slices.SortedFunc(maps.Keys(p.users[c.User]), netip.Addr.Compare) {
		if r.prefix.Contains(addr) && p.taken(r, addr, c, now) == nil {
			return addr, nil
		}
	}
	return p.free(r, c, now)
}

// taken tells what keeps an address from a claim, nil when nothing does.
func (p *Pool) taken(r *addressRange, addr netip.Addr, c Claim, now time.Time) error {
	if addr == r.own {
		return &TakenError{Address: addr, Holder: "the load balancer itself"}
	}
	if addr.Less(r.first) || r.last.Less(addr) {
		return &TakenError{Address: addr, Holder: "the network " + r.prefix.String()}
	}
	if i := covering(c.Exclude, addr); i >= 0 {
		return &TakenError{Address: addr, Holder: "the excluded prefix " + c.Exclude[i].String()}
	}
	if err := p.lookAt(addr, now); err != nil {
		return err
	}
	l := p.at(addr, now)
	switch {
	case l == nil && c.Insist && now.Before(p.sealed):
		return &TakenError{Address: addr, Holder: "somebody of an earlier run, whose leases cannot be read", For: p.sealed.Sub(now)}
	case l == nil || l.owner == c.Owner || l.heldBy(c.User):
		return nil
	}
	taken := &TakenError{Address: addr, Holder: l.owner}
	if end, ended := l.endsAt(); ended {
		taken.For = end.Sub(now)
	}
	return taken
}

// free finds a free address, from the owner's place upwards and around.
func (p *Pool) free(r *addressRange, c Claim, now time.Time) (netip.Addr, error) {
	if now.Before(p.sealed) {
		return netip.Addr{}, fmt.Errorf("%w in %s for another %s: the leases of an earlier run in %s cannot be read",
			ErrExhausted, r.prefix, seconds(p.sealed.Sub(now)), p.ledger.path)
	}
	start := r.place(c.Owner)
	addr, wrapped := start, false
	for {
		next := addr.Next()
		if i := covering(c.Exclude, addr); i >= 0 {
			next = lastOf(c.Exclude[i].Masked()).Next()
		} else if err := p.lookAt(addr, now); err != nil {
			return netip.Addr{}, err
		} else if p.at(addr, now) == nil {
			return addr, nil
		}
		if !next.IsValid() || r.last.Less(next) {
			if wrapped {
				break
			}
			next, wrapped = r.first, true
		}
		if addr = next; wrapped && start.Less(addr) {
			break
		}
	}
	return netip.Addr{}, p.exhausted(r, now)
}

// exhausted tells what one may wait for.
func (p *Pool) exhausted(r *addressRange, now time.Time) error {
	var ended int
	var next time.Time
	for addr, l := range p.places {
		end, ok := l.endsAt()
		if !ok || !r.prefix.Contains(addr) {
			continue
		}
		ended++
		if next.IsZero() || end.Before(next) {
			next = end
		}
	}
	if ended == 0 {
		return fmt.Errorf("%w in %s", ErrExhausted, r.prefix)
	}
	return fmt.Errorf("%w in %s: connections that are gone may hold %d for the rest of their leases, the next one until %s, in %s",
		ErrExhausted, r.prefix, ended, next.Format(time.TimeOnly), seconds(next.Sub(now)))
}

// place is where the search for an owner's address begins.
func (r *addressRange) place(owner string) netip.Addr {
	hash := fnv.New128a()
	hash.Write([]byte(owner))
	first := new(big.Int).SetBytes(r.first.AsSlice())
	size := new(big.Int).SetBytes(r.last.AsSlice())
	size.Sub(size, first).Add(size, big.NewInt(1))
	offset := new(big.Int).SetBytes(hash.Sum(nil))
	bytes := make([]byte, r.first.BitLen()/8)
	offset.Mod(offset, size).Add(offset, first).FillBytes(bytes)
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

func covering(prefixes []netip.Prefix, addr netip.Addr) int {
	return slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func lastOf(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
