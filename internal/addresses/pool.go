// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
)

// ErrExhausted says that all addresses of a prefix are held.
var ErrExhausted = errors.New("no free address")

// span is a run of addresses of one network.
type span struct{ first, last netip.Addr }

// network is one prefix of an attractor.
type network struct {
	text  string
	bits  int
	spans []span
}

// Pool gives addresses away. Its methods may be called concurrently.
type Pool struct {
	networks []network
	file     string

	mu     sync.Mutex
	owners map[string][]netip.Prefix  // by owner, in the order of networks
	users  map[string]map[string]bool // by owner
}

// New returns a pool of prefixes as an attractor has them: "10.0.0.0/24", or ranges
// "10.0.0.2-10.0.0.9/24" joined by ';'. Empty ones are skipped. The file, if any,
// outlives the process.
func New(file string, prefixes ...string) (*Pool, error) {
	p := &Pool{file: file, owners: map[string][]netip.Prefix{}, users: map[string]map[string]bool{}}
	for _, text := range prefixes {
		if text == "" {
			continue
		}
		n, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("prefix %q: %w", text, err)
		}
		p.networks = append(p.networks, n)
	}
	return p, p.read()
}

func parse(text string) (network, error) {
	n := network{text: text}
	for part := range strings.SplitSeq(text, ";") {
		first, rest, isRange := strings.Cut(part, "-")
		if !isRange {
			rest = part
		}
		end, err := netip.ParsePrefix(rest)
		if err != nil {
			return n, err
		}
		if n.bits != 0 && n.bits != end.Bits() {
			return n, fmt.Errorf("%s is of another network", part)
		}
		n.bits = end.Bits()
		s := usable(end)
		if isRange {
			start, err := netip.ParseAddr(first)
			if err != nil {
				return n, err
			}
			if !end.Contains(start) || end.Addr().Less(start) {
				return n, fmt.Errorf("%s is no range of %s", part, end.Masked())
			}
			s = span{start, end.Addr()}
		}
		n.spans = append(n.spans, s)
	}
	return n, nil
}

// usable are the addresses of a whole prefix that a host can have: not the one that
// names the network, nor IPv4's broadcast address (RFC 3021, RFC 6164: of two both).
func usable(p netip.Prefix) span {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	end, _ := netip.AddrFromSlice(last)
	s := span{p.Addr(), end}
	if p.Bits() < p.Addr().BitLen()-1 {
		s.first = s.first.Next()
		if p.Addr().Is4() {
			s.last = s.last.Prev()
		}
	}
	return s
}

func (n network) contains(a netip.Addr) bool {
	return slices.ContainsFunc(n.spans, func(s span) bool {
		return s.first.BitLen() == a.BitLen() && !a.Less(s.first) && !s.last.Less(a)
	})
}

// Take returns an owner's addresses, one of each prefix, for a user of his. Those
// that he had, by the word of whoever asks, are his again if they are free. It is
// fresh when the user did not hold them before.
func (p *Pool) Take(owner, user string, had []netip.Prefix) (given []netip.Prefix, fresh bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	given, known := p.owners[owner]
	if known && p.users[owner][user] {
		return slices.Clone(given), false, nil
	}
	if !known {
		for _, n := range p.networks {
			a, err := p.choose(n, owner, had)
			if err != nil {
				return nil, false, err
			}
			given = append(given, netip.PrefixFrom(a, n.bits))
		}
		p.owners[owner] = given
	}
	if p.users[owner] == nil {
		p.users[owner] = map[string]bool{}
	}
	p.users[owner][user] = true
	if err := p.write(); err != nil {
		p.release(owner, user)
		return nil, false, err
	}
	return slices.Clone(given), true, nil
}

// Release ends a user's hold. An owner's addresses are free without users.
func (p *Pool) Release(user string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for owner, users := range p.users {
		if users[user] {
			p.release(owner, user)
			return p.write()
		}
	}
	return nil
}

func (p *Pool) release(owner, user string) {
	delete(p.users[owner], user)
	if len(p.users[owner]) == 0 {
		delete(p.users, owner)
		delete(p.owners, owner)
	}
}

func (p *Pool) taken(a netip.Addr) bool {
	for _, given := range p.owners {
		if slices.ContainsFunc(given, func(g netip.Prefix) bool { return g.Addr() == a }) {
			return true
		}
	}
	return false
}

// choose prefers what the owner had, then the place that follows from its name.
func (p *Pool) choose(n network, owner string, had []netip.Prefix) (netip.Addr, error) {
	for _, h := range had {
		if n.contains(h.Addr()) && !p.taken(h.Addr()) {
			return h.Addr(), nil
		}
	}
	total := new(big.Int)
	for _, s := range n.spans {
		total.Add(total, s.size())
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(owner)) // never fails
	start := new(big.Int).Mod(new(big.Int).SetUint64(hash.Sum64()), total)
	// One more than there are held is enough to find a free one.
	for range len(p.owners) + 1 {
		if a := n.at(start); !p.taken(a) {
			return a, nil
		}
		start.Add(start, big.NewInt(1)).Mod(start, total)
	}
	return netip.Addr{}, fmt.Errorf("%w in %s", ErrExhausted, n.text)
}

func (s span) size() *big.Int {
	n := new(big.Int).Sub(number(s.last), number(s.first))
	return n.Add(n, big.NewInt(1))
}

// at returns the address with that number among all of the network.
func (n network) at(index *big.Int) netip.Addr {
	left := new(big.Int).Set(index)
	for _, s := range n.spans {
		if left.Cmp(s.size()) < 0 {
			b := make([]byte, s.first.BitLen()/8)
			new(big.Int).Add(number(s.first), left).FillBytes(b)
			a, _ := netip.AddrFromSlice(b)
			return a
		}
		left.Sub(left, s.size())
	}
	return n.spans[0].first // not reached: index is less than the sum of all sizes
}

func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

type record struct {
	Addresses []netip.Prefix
	Users     []string
}

func (p *Pool) read() error {
	if p.file == "" {
		return nil
	}
	data, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read who holds which address: %w", err)
	}
	records := map[string]record{}
	if err := json.Unmarshal(data, &records); err != nil {
		return fmt.Errorf("read who holds which address: %s: %w", p.file, err)
	}
	for owner, r := range records {
		if len(r.Addresses) != len(p.networks) {
			continue // of other prefixes
		}
		still := true
		for i, a := range r.Addresses {
			still = still && p.networks[i].contains(a.Addr()) && a.Bits() == p.networks[i].bits
		}
		if !still {
			continue
		}
		p.owners[owner], p.users[owner] = r.Addresses, map[string]bool{}
		for _, user := range r.Users {
			p.users[owner][user] = true
		}
	}
	return nil
}

func (p *Pool) write() error {
	if p.file == "" {
		return nil
	}
	records := map[string]record{}
	for owner, given := range p.owners {
		r := record{Addresses: given}
		for user := range p.users[owner] {
			r.Users = append(r.Users, user)
		}
		slices.Sort(r.Users)
		records[owner] = r
	}
	data, err := json.Marshal(records)
	if err == nil {
		err = os.WriteFile(p.file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(p.file+".new", p.file)
	}
	if err != nil {
		return fmt.Errorf("store who holds which address: %w", err)
	}
	return nil
}
