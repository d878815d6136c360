// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("target-%d.trench-a", i)
	}
	return out
}

// byName resolves the slots of a table, so that tables built from differently
// ordered names compare.
func byName(t testing.TB, size uint32, names []string) []string {
	t.Helper()
	table, err := Build(size, names)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(table))
	for i, slot := range table {
		if slot != 0 {
			out[i] = names[slot-1]
		}
	}
	return out
}

func TestOrderDoesNotMatter(t *testing.T) {
	const size = 4099
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	pool := names(60)
	for round := range 50 {
		want := pool[:1+rnd.IntN(len(pool))]
		// A second balancer meets the same targets by another history: others
		// come and go, the survivors arrive in a random order.
		var have []string
		for _, i := range rnd.Perm(len(pool)) {
			have = append(have, pool[i])
		}
		have = slices.DeleteFunc(have, func(name string) bool { return !slices.Contains(want, name) })
		if !slices.Equal(byName(t, size, want), byName(t, size, have)) {
			t.Fatalf("round %d: tables of %d targets differ", round, len(want))
		}
	}
}

func TestBalance(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 1000} {
		shares := map[string]int{}
		for _, name := range byName(t, DefaultSize, names(n)) {
			shares[name]++
		}
		low, high := DefaultSize, 0
		for _, share := range shares {
			low, high = min(low, share), max(high, share)
		}
		if len(shares) != n || high-low > 1 {
			t.Errorf("%d targets: %d have slots, %d to %d each", n, len(shares), low, high)
		}
	}
}

// disruption is the share of the surviving slots that move when one of the
// targets leaves, averaged over several leavers.
func disruption(t *testing.T, size uint32, n int) float64 {
	all := names(n)
	before := byName(t, size, all)
	moved, kept := 0, 0
	for leaver := 0; leaver < n; leaver += max(1, n/10) {
		rest := slices.Delete(slices.Clone(all), leaver, leaver+1)
		for i, name := range byName(t, size, rest) {
			switch before[i] {
			case all[leaver]:
			case name:
				kept++
			default:
				moved++
			}
		}
	}
	return float64(moved) / float64(moved+kept)
}

func TestDisruption(t *testing.T) {
	for _, test := range []struct {
		n    int
		size uint32
		most float64
	}{
		{10, 16381, 0.0075},
		{100, 9973, 0.020},
		{100, 16381, 0.018},
		{100, 65537, 0.0075},
	} {
		got := disruption(t, test.size, test.n)
		t.Logf("%d targets, %d slots: %.2f %% of the surviving slots move", test.n, test.size, 100*got)
		if got > test.most {
			t.Errorf("%d targets, %d slots: %.4f moved, want at most %.4f", test.n, test.size, got, test.most)
		}
	}
}

// TestPinned keeps replicas of different releases in agreement.
func TestPinned(t *testing.T) {
	table, err := Build(13, []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	want := []uint16{3, 3, 1, 2, 3, 2, 1, 2, 1, 2, 3, 1, 1}
	if !slices.Equal(table, want) {
		t.Errorf("table %v, want %v", table, want)
	}
}

func TestCollidingPermutations(t *testing.T) {
	table := make([]uint16, 11)
	fill(table, []backend{{name: "a", weight: 1, slot: 1, next: 4, skip: 3}, {name: "b", weight: 1, slot: 2, next: 4, skip: 3}})
	// Along the common permutation 4, 7, 10, 2, 5, 8, 0, 3, 6, 9, 1 they alternate.
	want := []uint16{1, 1, 2, 2, 1, 1, 1, 2, 2, 2, 1}
	if !slices.Equal(table, want) {
		t.Errorf("table %v, want %v", table, want)
	}
}

func TestEdges(t *testing.T) {
	if table, err := Build(7, nil); err != nil || !slices.Equal(table, make([]uint16, 7)) {
		t.Errorf("no names: %v, %v", table, err)
	}
	if table, err := Build(2, []string{"a", "b"}); err != nil || table[0] == table[1] {
		t.Errorf("as many names as slots: %v, %v", table, err)
	}
	for _, test := range []struct {
		size  uint32
		names []string
		want  error
	}{
		{0, nil, ErrSize},
		{1, nil, ErrSize},
		{65536, []string{"a"}, ErrSize},
		{2, names(3), ErrCrowded},
		{131071, make([]string, MaxBackends+1), ErrCrowded},
		{7, []string{"a", "b", "a"}, ErrDuplicate},
	} {
		if _, err := Build(test.size, test.names); !errors.Is(err, test.want) {
			t.Errorf("size %d, %d names: %v, want %v", test.size, len(test.names), err, test.want)
		}
	}
}

func TestIsPrime(t *testing.T) {
	sieve := make([]bool, 70000)
	for i := 2; i < len(sieve); i++ {
		if IsPrime(uint32(i)) == sieve[i] {
			t.Fatalf("IsPrime(%d) = %v", i, sieve[i] == false)
		}
		if !sieve[i] {
			for j := 2 * i; j < len(sieve); j += i {
				sieve[j] = true
			}
		}
	}
	for n, want := range map[uint32]bool{0: false, 1: false, 4294967291: true, 4294967295: false} {
		if IsPrime(n) != want {
			t.Errorf("IsPrime(%d) = %v", n, !want)
		}
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(uint32(65537), "a,b,c")
	f.Add(uint32(2), "x")
	f.Add(uint32(4), "")
	f.Fuzz(func(t *testing.T, size uint32, list string) {
		size %= 5000
		var names []string
		for start, i := 0, 0; i <= len(list); i++ {
			if i == len(list) || list[i] == ',' {
				names = append(names, list[start:i])
				start = i + 1
			}
		}
		table, err := Build(size, names)
		if err != nil {
			return
		}
		if !IsPrime(size) || len(table) != int(size) {
			t.Fatalf("%d slots for size %d", len(table), size)
		}
		shares := make([]int, len(names))
		for _, slot := range table {
			shares[slot-1]++
		}
		if slices.Max(shares)-slices.Min(shares) > 1 {
			t.Fatalf("shares %v", shares)
		}
		if !slices.IsSorted(names) {
			sorted := slices.Sorted(slices.Values(names))
			if !slices.Equal(byName(t, size, names), byName(t, size, sorted)) {
				t.Fatal("the order of the names matters")
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		all := names(n)
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Build(DefaultSize, all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
