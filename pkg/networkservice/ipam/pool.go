// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/big"
	"net/netip"
	"slices"
	"sync"
)

// ErrExhausted says that a prefix has no free address left.
var ErrExhausted = errors.New("no free address")

// TakenError says that an address that was asked for belongs to somebody else.
type TakenError struct {
	Address netip.Addr
	Holder  string // its owner, or what keeps it from being given away
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("address %s is taken by %s", e.Address, e.Holder)
}

// Pool gives addresses of prefixes to owners, each owner one of every prefix.
// An owner's address follows from its name as far as others leave it free, so
// that it is likely to be the same after a restart.
type Pool struct {
	ranges []*addressRange

	mu     sync.Mutex
	owners map[string][]netip.Addr // in the order of ranges
	users  map[string]map[string]bool
}

// addressRange is one prefix.
type addressRange struct {
	prefix      netip.Prefix
	own         netip.Addr // the replica's
	first, last netip.Addr // that may be given away
	taken       map[netip.Addr]string
}

// NewPool makes a pool of prefixes, which must not overlap. The first usable
// address of each (not the one that names the network) is the replica's own.
func NewPool(prefixes ...netip.Prefix) (*Pool, error) {
	p := &Pool{owners: map[string][]netip.Addr{}, users: map[string]map[string]bool{}}
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
		r := &addressRange{prefix: prefix, own: prefix.Addr(), last: lastOf(prefix), taken: map[netip.Addr]string{}}
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
func (p *Pool) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(p.ranges, func(r *addressRange) bool { return r.prefix.Contains(addr) })
}

// Claim gives the owner an address of every prefix and notes that user needs
// them; both may be repeated. Addresses that the owner has already stay the
// same unless want names another one of the same prefix or exclude covers them.
// An address in want that is not free is a TakenError when insist is set and is
// replaced by a free one when not; want's addresses outside the prefixes are
// ignored. On an error nothing has changed.
func (p *Pool) Claim(owner, user string, want []netip.Addr, insist bool, exclude []netip.Prefix) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.owners[owner]
	chosen := make([]netip.Addr, len(p.ranges))
	for i, r := range p.ranges {
		var keep netip.Addr
		if had != nil {
			keep = had[i]
		}
		addr, err := r.choose(owner, keep, want, insist, exclude)
		if err != nil {
			return nil, err
		}
		chosen[i] = addr
	}
	for i, r := range p.ranges {
		if had != nil {
			delete(r.taken, had[i])
		}
		r.taken[chosen[i]] = owner
	}
	p.owners[owner] = chosen
	if p.users[owner] == nil {
		p.users[owner] = map[string]bool{}
	}
	p.users[owner][user] = true
	return slices.Clone(chosen), nil
}

// Release notes that user needs the owner's addresses no more. They are free
// when nobody does. It may be repeated.
func (p *Pool) Release(owner, user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := p.users[owner]
	delete(users, user)
	if len(users) > 0 {
		return
	}
	for i, addr := range p.owners[owner] {
		delete(p.ranges[i].taken, addr)
	}
	delete(p.owners, owner)
	delete(p.users, owner)
}

func (r *addressRange) choose(owner string, keep netip.Addr, want []netip.Addr, insist bool, exclude []netip.Prefix) (netip.Addr, error) {
	for _, addr := range want {
		if !r.prefix.Contains(addr) {
			continue
		}
		holder := r.holder(addr, exclude)
		if holder == "" || holder == owner {
			return addr, nil
		}
		if insist {
			return netip.Addr{}, &TakenError{Address: addr, Holder: holder}
		}
	}
	if keep.IsValid() && r.holder(keep, exclude) == owner {
		return keep, nil
	}
	return r.free(owner, exclude)
}

// holder tells whose an address is, "" when it is free.
func (r *addressRange) holder(addr netip.Addr, exclude []netip.Prefix) string {
	if addr == r.own {
		return "the load balancer itself"
	}
	if addr.Less(r.first) || r.last.Less(addr) {
		return "the network " + r.prefix.String()
	}
	if i := covering(exclude, addr); i >= 0 {
		return "the excluded prefix " + exclude[i].String()
	}
	return r.taken[addr]
}

// free finds a free address, from the owner's place upwards and around.
func (r *addressRange) free(owner string, exclude []netip.Prefix) (netip.Addr, error) {
	start := r.place(owner)
	addr, wrapped := start, false
	for {
		next := addr.Next()
		if i := covering(exclude, addr); i >= 0 {
			next = lastOf(exclude[i].Masked()).Next()
		} else if r.taken[addr] == "" {
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
	return netip.Addr{}, fmt.Errorf("%w in %s", ErrExhausted, r.prefix)
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
