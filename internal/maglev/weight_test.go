// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func mixed(rnd *rand.Rand, n int) []uint16 {
	weights := make([]uint16, n)
	for i := range weights {
		weights[i] = uint16(rnd.IntN(MaxWeight + 1))
	}
	return weights
}

func random(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// weightedByName is byName with weights.
func weightedByName(t testing.TB, size uint32, names []string, weights []uint16) []string {
	t.Helper()
	table, err := BuildWeighted(size, names, weights)
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

func TestEqualWeightsAreNone(t *testing.T) {
	for _, n := range []int{1, 2, 7, 100, 1000} {
		all := names(n)
		want, err := Build(DefaultSize, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, weight := range []uint16{1, 2, 7, 333, MaxWeight} {
			got, err := BuildWeighted(DefaultSize, all, slices.Repeat([]uint16{weight}, n))
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%d targets of weight %d have another table than without weights, %v", n, weight, err)
			}
		}
	}
}

// checkShares compares shares with the bound that BuildWeighted promises. It
// follows from the times of turns: if T is when the last slot is taken, a
// backend has s slots with (2s-1)/w <= T <= (2s+1)/w, so that s is within 1/2 of
// T*w/2; summed up over the n backends, T is within n/sum of 2*size/sum.
func checkShares(t *testing.T, size uint32, weights []uint16, table []uint16) {
	t.Helper()
	shares := make([]float64, len(weights))
	for _, slot := range table {
		shares[slot-1]++
	}
	var n, sum float64
	for _, weight := range weights {
		if weight > 0 {
			n, sum = n+1, sum+float64(weight)
		}
	}
	for i, weight := range weights {
		ideal, most := float64(size)*float64(weight)/sum, 0.5+n*float64(weight)/(2*sum)
		if weight == 0 {
			most = 0
		}
		if math.Abs(shares[i]-ideal) > most+1e-6 {
			t.Fatalf("of %d slots, weight %d of %v has %v, want %v give or take %v", size, weight, sum, shares[i], ideal, most)
		}
	}
}

func TestShares(t *testing.T) {
	rnd := random(t)
	for _, size := range []uint32{13, 251, 4099, DefaultSize} {
		for _, n := range []int{1, 2, 3, 10, 100, 1000} {
			if n > int(size) {
				continue
			}
			one := slices.Repeat([]uint16{1}, n)
			one[rnd.IntN(n)] = MaxWeight
			some := mixed(rnd, n)
			some[0] = max(some[0], 1)
			for _, weights := range [][]uint16{one, some} {
				table, err := BuildWeighted(size, names(n), weights)
				if err != nil {
					t.Fatal(err)
				}
				checkShares(t, size, weights, table)
			}
		}
	}
}

func TestWeightedOrderDoesNotMatter(t *testing.T) {
	const size, n = 4099, 60
	rnd := random(t)
	all := names(n)
	for range 20 {
		weights := mixed(rnd, n)
		if rnd.IntN(2) == 0 { // many of the same
			for i := range weights {
				weights[i] %= 4
			}
		}
		weights[0] = 3
		var shuffled []string
		var theirs []uint16
		for _, i := range rnd.Perm(n) {
			shuffled, theirs = append(shuffled, all[i]), append(theirs, weights[i])
		}
		if !slices.Equal(weightedByName(t, size, all, weights), weightedByName(t, size, shuffled, theirs)) {
			t.Fatal("the tables differ")
		}
	}
}

// TestScheduleIsExact compares the order of turns with that of the fractions.
func TestScheduleIsExact(t *testing.T) {
	rnd := random(t)
	weights := mixed(rnd, 50)
	weights = append(weights, MaxWeight, MaxWeight-1, 1, 2, 500, 250)
	slices.Sort(weights)
	weights = slices.Compact(weights)
	slices.Reverse(weights)
	if last := len(weights) - 1; weights[last] == 0 {
		weights = weights[:last]
	}
	var backends []backend
	for _, weight := range weights {
		backends = append(backends, backend{weight: weight})
	}
	s := newSchedule(backends)
	taken := map[uint64]uint64{}
	for range 200_000 {
		var first uint64 // heaviest of the earliest
		for _, b := range backends {
			weight := uint64(b.weight)
			if first == 0 || (2*taken[weight]+1)*first < (2*taken[first]+1)*weight {
				first = weight
			}
		}
		taken[first]++
		if got := uint64(s.next()[0].weight); got != first {
			t.Fatalf("turn of weight %d, want %d", got, first)
		}
	}
}

// TestLastTurns: the schedule's numbers hold out for the largest table.
func TestLastTurns(t *testing.T) {
	s := newSchedule([]backend{{weight: MaxWeight}, {weight: 1}})
	s.classes[1].turns = math.MaxUint32 - 1
	if at := s.turnOf(1); uint64(at)>>classBits>>timeBits != 2*math.MaxUint32-1 || at&(1<<classBits-1) != 1 {
		t.Errorf("turn %x", uint64(at))
	}
}

// TestWeightedDisruption: of the slots that a change of one weight does not
// have to move, few do. It has to move the difference of the share.
func TestWeightedDisruption(t *testing.T) {
	const n = 100
	all := names(n)
	rnd := random(t)
	weights := make([]uint16, n)
	for i := range weights {
		weights[i] = uint16(1 + rnd.IntN(10))
	}
	before := weightedByName(t, DefaultSize, all, weights)
	var worst float64
	for i := 0; i < n; i += 10 {
		for _, weight := range []uint16{0, weights[i] + 1, 10 * weights[i]} {
			changed := slices.Clone(weights)
			changed[i] = weight
			moved, due := 0, 0
			for at, name := range weightedByName(t, DefaultSize, all, changed) {
				switch {
				case name == before[at]:
				case name == all[i] || before[at] == all[i]:
					due++
				default:
					moved++
				}
			}
			if due == 0 {
				t.Errorf("weight %d instead of %d moves nothing", weight, weights[i])
			}
			worst = max(worst, float64(moved)/DefaultSize)
		}
	}
	t.Logf("at worst %.2f %% of the slots move without need", 100*worst)
	// Without weights it is 0.56 % when one of 100 leaves; ten times the weight
	// takes ten times as many slots from others, and 1 % were seen to move.
	if worst > 0.02 {
		t.Errorf("%.4f of the slots move without need", worst)
	}
}

func TestWeightEdges(t *testing.T) {
	if table, err := BuildWeighted(7, []string{"a", "b"}, []uint16{0, 0}); err != nil || !slices.Equal(table, make([]uint16, 7)) {
		t.Errorf("all of weight 0: %v, %v", table, err)
	}
	if table, err := BuildWeighted(7, []string{"a", "b"}, []uint16{0, 5}); err != nil || !slices.Equal(table, slices.Repeat([]uint16{2}, 7)) {
		t.Errorf("one of weight 0: %v, %v", table, err)
	}
	for _, weights := range [][]uint16{{1}, {1, 2, 3}, {1, MaxWeight + 1}} {
		if _, err := BuildWeighted(7, []string{"a", "b"}, weights); !errors.Is(err, ErrWeight) {
			t.Errorf("weights %v: %v", weights, err)
		}
	}
	// Equal names are an error even if no slot shows it.
	if _, err := BuildWeighted(7, []string{"a", "a"}, []uint16{0, 1}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("equal names: %v", err)
	}
}

// TestWeightedPinned keeps replicas of different releases in agreement.
func TestWeightedPinned(t *testing.T) {
	table, err := BuildWeighted(13, []string{"a", "b", "c"}, []uint16{1, 3, 2})
	if err != nil {
		t.Fatal(err)
	}
	want := []uint16{3, 2, 2, 2, 3, 2, 2, 3, 1, 1, 3, 2, 2}
	if !slices.Equal(table, want) {
		t.Errorf("table %v, want %v", table, want)
	}
}

func TestParseWeight(t *testing.T) {
	for text, want := range map[string]uint16{"0": 0, "1": 1, "42": 42, "1000": MaxWeight} {
		if got, err := ParseWeight(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " 1", "1 ", "-1", "+1", "1001", "65536", "1.5", "1e2", "0x1", "1_0", "one"} {
		if _, err := ParseWeight(text); !errors.Is(err, ErrWeight) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzBuildWeighted: two bytes of input are the weight of one backend.
func FuzzBuildWeighted(f *testing.F) {
	f.Add(uint32(13), []byte{0, 1, 0, 3, 0, 2})
	f.Add(uint32(251), []byte{3, 232, 0, 0, 0, 1})
	f.Add(uint32(7), []byte{})
	f.Fuzz(func(t *testing.T, size uint32, data []byte) {
		size %= 5000
		var weights []uint16
		for ; len(data) > 1; data = data[2:] {
			weights = append(weights, uint16(data[0])<<8|uint16(data[1]))
		}
		all := names(len(weights))
		table, err := BuildWeighted(size, all, weights)
		if err != nil {
			return
		}
		if len(weights) == 0 || slices.Max(weights) == 0 {
			if slices.Max(table) != 0 {
				t.Fatal("slots without backends")
			}
			return
		}
		checkShares(t, size, weights, table)
		want := weightedByName(t, size, all, weights)
		slices.Reverse(all)
		slices.Reverse(weights)
		if !slices.Equal(want, weightedByName(t, size, all, weights)) {
			t.Fatal("the order of the backends matters")
		}
	})
}

func BenchmarkBuildWeighted(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{10, 100, 1000} {
		all := names(n)
		one := slices.Repeat([]uint16{1}, n)
		one[n/2] = MaxWeight
		few := mixed(rnd, n)
		for i := range few {
			few[i] = few[i]%10 + 1
		}
		for name, weights := range map[string][]uint16{"none": nil, "one-of-1000": one, "1-to-10": few, "1-to-1000": mixed(rnd, n)} {
			b.Run(fmt.Sprintf("targets=%d/weights=%s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := BuildWeighted(DefaultSize, all, weights); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
