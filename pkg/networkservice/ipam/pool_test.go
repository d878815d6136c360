// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func pool(t testing.TB, prefixes ...string) *Pool {
	t.Helper()
	parsed := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		parsed[i] = netip.MustParsePrefix(p)
	}
	p, err := NewPool(parsed...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addrs(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// claim and release are of users without leases, who always vacate.
func (p *Pool) claim(owner, user string, want []netip.Addr, insist bool, exclude []netip.Prefix) ([]netip.Addr, error) {
	grant, err := p.Claim(Claim{Owner: owner, User: owner + "/" + user, Want: want, Insist: insist, Exclude: exclude})
	return grant.Addresses, err
}

func (p *Pool) release(owner, user string) { p.Release(owner+"/"+user, true) }

func (p *Pool) inUse() int { return len(p.places) + len(p.owners) + len(p.users) }

func TestOwn(t *testing.T) {
	p := pool(t, "172.16.0.77/24", "fd00::/64", "10.0.0.0/31", "fd01::/127", "10.1.0.0/30")
	want := addrs("172.16.0.1", "fd00::1", "10.0.0.0", "fd01::", "10.1.0.1")
	if got := p.Own(); !slices.Equal(got, want) {
		t.Errorf("own %v, want %v", got, want)
	}
	got, err := p.claim("a", "1", nil, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := addrs("10.0.0.1", "fd01::1", "10.1.0.2"); !slices.Equal(got[2:], want) {
		t.Errorf("the only addresses left are %v, got %v", want, got[2:])
	}
	if !p.Contains(netip.MustParseAddr("172.16.0.200")) || p.Contains(netip.MustParseAddr("172.16.1.0")) {
		t.Error("Contains does not follow the prefixes")
	}
}

func TestBadPrefixes(t *testing.T) {
	for _, texts := range [][]string{{}, {"10.0.0.0/8", "10.1.0.0/16"}, {"10.0.0.1/32"}, {"fd00::1/128"}, {"::ffff:10.0.0.0/104"}} {
		var prefixes []netip.Prefix
		for _, text := range texts {
			prefixes = append(prefixes, netip.MustParsePrefix(text))
		}
		if _, err := NewPool(prefixes...); err == nil {
			t.Errorf("NewPool accepts %v", texts)
		}
	}
	if _, err := NewPool(netip.Prefix{}); err == nil {
		t.Error("NewPool accepts the zero prefix")
	}
}

func TestFullRange(t *testing.T) {
	p := pool(t, "10.0.0.0/28")
	got := map[netip.Addr]bool{}
	for i := range 13 {
		a, err := p.claim(fmt.Sprint(i), "1", nil, true, nil)
		if err != nil {
			t.Fatalf("claim %d: %v", i, err)
		}
		got[a[0]] = true
	}
	if len(got) != 13 || got[netip.MustParseAddr("10.0.0.0")] || got[netip.MustParseAddr("10.0.0.1")] || got[netip.MustParseAddr("10.0.0.15")] {
		t.Errorf("gave %v", got)
	}
	if _, err := p.claim("late", "1", nil, true, nil); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "10.0.0.0/28") {
		t.Errorf("fourteenth claim: %v", err)
	}
	p.release("7", "1")
	if _, err := p.claim("late", "1", nil, true, nil); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

func TestOwnerKeepsItsAddresses(t *testing.T) {
	p := pool(t, "172.16.0.0/24", "fd00::/64")
	first, err := p.claim("a", "1", nil, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"1", "2"} {
		if again, err := p.claim("a", user, nil, true, nil); err != nil || !slices.Equal(again, first) {
			t.Errorf("user %s: %v, %v, want %v", user, again, err, first)
		}
	}
	p.release("a", "1")
	p.release("a", "1")
	if _, err := p.claim("b", "1", first[:1], true, nil); err == nil {
		t.Error("an address somebody uses was given away")
	}
	p.release("a", "2")
	p.release("a", "2")
	if p.inUse() != 0 {
		t.Errorf("left: %v %v", p.owners, p.users)
	}
	// The same place after a restart, without remembering anything.
	if again, err := pool(t, "172.16.0.0/24", "fd00::/64").claim("a", "1", nil, true, nil); err != nil || !slices.Equal(again, first) {
		t.Errorf("after a restart: %v, %v, want %v", again, err, first)
	}
}

func TestFixedAddresses(t *testing.T) {
	p := pool(t, "172.16.0.0/24", "fd00::/64")
	want := addrs("192.168.0.1", "172.16.0.9", "fd00::9")
	got, err := p.claim("a", "1", want, true, nil)
	if err != nil || !slices.Equal(got, want[1:]) {
		t.Fatalf("got %v, %v", got, err)
	}
	for text, holder := range map[string]string{
		"172.16.0.9": "a", "172.16.0.1": "the load balancer itself", "172.16.0.0": "the network 172.16.0.0/24",
		"172.16.0.255": "the network 172.16.0.0/24", "172.16.0.40": "the excluded prefix 172.16.0.32/28",
	} {
		var taken *TakenError
		exclude := []netip.Prefix{netip.MustParsePrefix("172.16.0.32/28")}
		_, err := p.claim("b", "1", addrs(text), true, exclude)
		if !errors.As(err, &taken) || taken.Holder != holder || taken.Address.String() != text {
			t.Errorf("%s: %v, want holder %s", text, err, holder)
		}
		before := p.inUse()
		if got, err := p.claim("c", "1", addrs(text), false, exclude); err != nil || got[0].String() == text {
			t.Errorf("%s without insisting: %v, %v", text, got, err)
		}
		p.release("c", "1")
		if p.inUse() != before {
			t.Errorf("%s: claims leak", text)
		}
	}
	// Another address in place.
	got, err = p.claim("a", "1", addrs("172.16.0.10"), true, nil)
	if err != nil || got[0].String() != "172.16.0.10" || got[1].String() != "fd00::9" {
		t.Errorf("changed to %v, %v", got, err)
	}
	if _, err := p.claim("b", "1", addrs("172.16.0.9"), true, nil); err != nil {
		t.Errorf("the address left: %v", err)
	}
}

func TestExcludedPrefixes(t *testing.T) {
	p := pool(t, "10.0.0.0/29", "fd00::/64")
	exclude := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.4/30"), netip.MustParsePrefix("10.0.0.2/32"),
		netip.MustParsePrefix("fd00::/65"), netip.MustParsePrefix("fd00::8000:0:0:0/66"),
	}
	got, err := p.claim("a", "1", nil, true, exclude)
	if err != nil || got[0].String() != "10.0.0.3" || !netip.MustParsePrefix("fd00::c000:0:0:0/66").Contains(got[1]) {
		t.Fatalf("got %v, %v", got, err)
	}
	if _, err := p.claim("b", "1", nil, true, exclude); !errors.Is(err, ErrExhausted) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := p.claim("b", "1", nil, true, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}); !errors.Is(err, ErrExhausted) {
		t.Errorf("everything excluded: %v", err)
	}
	// What an owner has is taken from it when it becomes excluded.
	moved, err := p.claim("a", "1", nil, true, []netip.Prefix{netip.MustParsePrefix("10.0.0.3/32")})
	if err != nil || moved[0] == got[0] || moved[1] != got[1] {
		t.Errorf("moved to %v, %v", moved, err)
	}
}
