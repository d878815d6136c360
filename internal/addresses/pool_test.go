// SPDX-License-Identifier: Apache-2.0

package addresses

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var comparable = cmpopts.EquateComparable(netip.Prefix{})

func open(t *testing.T, file string, prefixes ...string) *Pool {
	t.Helper()
	p, err := New(file, prefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func take(t *testing.T, p *Pool, owner, user string) []netip.Prefix {
	t.Helper()
	given, _, err := p.Take(owner, user, nil)
	if err != nil {
		t.Fatal(err)
	}
	return given
}

func TestEachAddressOnce(t *testing.T) {
	for text, n := range map[string]int{
		"10.0.0.0/29": 6, "10.0.0.0/31": 2, "fd00::/126": 3, "10.0.0.2-10.0.0.4/24;10.0.0.9-10.0.0.9/24": 4, "10.0.0.7/32": 1,
	} {
		p := open(t, "", text)
		seen := map[netip.Prefix]string{}
		for i := range n {
			owner := fmt.Sprint("replica-", i)
			given := take(t, p, owner, owner)
			if len(given) != 1 || seen[given[0]] != "" {
				t.Errorf("%s: %v for %s, others %v", text, given, owner, seen)
			}
			seen[given[0]] = owner
		}
		if _, _, err := p.Take("one more", "u", nil); !errors.Is(err, ErrExhausted) {
			t.Errorf("%s: %v after %v", text, err, seen)
		}
		if err := p.Release("replica-0"); err != nil {
			t.Error(err)
		}
		take(t, p, "one more", "u")
	}
}

func TestSameAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "addresses")
	p := open(t, file, "10.0.0.0/24", "", "fd00::/64")
	first := take(t, p, "a", "conn-1")
	if first[0].Bits() != 24 || first[1].Bits() != 64 {
		t.Errorf("%v do not have the networks' lengths", first)
	}
	p = open(t, file, "10.0.0.0/24", "fd00::/64")
	if diff := cmp.Diff(first, take(t, p, "a", "conn-2"), comparable); diff != "" {
		t.Error(diff)
	}
	if err := errors.Join(p.Release("conn-1"), p.Release("unknown")); err != nil {
		t.Error(err)
	}
	if given, _, _ := p.Take("b", "conn-3", first); given[0] == first[0] {
		t.Error("what a holds was given to b")
	}
	// A new process without a file takes the client's word.
	p = open(t, "", "10.0.0.0/24", "fd00::/64")
	had := []netip.Prefix{netip.MustParsePrefix("10.0.0.77/24"), netip.MustParsePrefix("fd00::77/64")}
	if given, _, err := p.Take("a", "conn-1", had); err != nil || cmp.Diff(had, given, comparable) != "" {
		t.Errorf("%v, %v, want %v", given, err, had)
	}
}

func TestBadPrefixes(t *testing.T) {
	for _, text := range []string{"x", "10.0.0.0", "10.0.0.9-10.0.0.2/24", "10.1.0.1-10.0.0.2/24", "10.0.0.1-10.0.0.2/24;10.0.0.4-10.0.0.5/25"} {
		if _, err := New("", text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
