// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/maglev"
)

// history is how one replica comes to know its targets.
type history struct {
	*fixture
	rnd   *rand.Rand
	links map[int]int // indexes of those that are there, by target
	last  int         // index of a link; the kernel does not soon use one again
}

var bothStreams = []string{"sip", "web"}

// randomTarget is target i in any state.
func randomTarget(rnd *rand.Rand, i int) Target {
	t := wish(i)
	for _, stream := range bothStreams {
		if rnd.IntN(3) > 0 {
			t.Streams = append(t.Streams, stream)
		}
	}
	switch rnd.IntN(4) {
	case 0: // the default
	case 1:
		t.Draining = true
		fallthrough
	case 2:
		weight := uint16(rnd.IntN(4))
		t.Weight = &weight
	case 3:
		weight := uint16(rnd.IntN(maglev.MaxWeight + 1))
		t.Weight = &weight
	}
	return t
}

func (h *history) link(i int, there bool) {
	switch {
	case there && h.links[i] == 0:
		h.last++
		h.links[i] = h.last
		h.fixture.links.add(h.last, ifname(i))
	case !there && h.links[i] != 0:
		h.fixture.links.remove(h.links[i])
		delete(h.links, i)
	}
}

func (h *history) unregister(i int) {
	h.t.Helper()
	if err := h.Unregister(h.t.Context(), fmt.Sprintf("conn-%d", i)); err != nil {
		h.t.Fatal(err)
	}
}

// wander lets anything happen to any of n targets, and to the streams.
func (h *history) wander(n, steps int) {
	h.t.Helper()
	for range steps {
		i := h.rnd.IntN(n)
		switch h.rnd.IntN(8) {
		case 0, 1, 2, 3:
			h.register(randomTarget(h.rnd, i))
		case 4, 5:
			h.link(i, h.rnd.IntN(3) > 0)
		case 6:
			h.unregister(i)
		case 7:
			if h.rnd.IntN(10) == 0 {
				h.config(Config{Streams: []Stream{{Name: "web"}}})
				h.config(Config{Streams: []Stream{{Name: "web"}, {Name: "sip"}}})
			}
		}
	}
}

// arrive brings every target to its last state, in any order.
func (h *history) arrive(last []*Target) {
	h.t.Helper()
	for _, i := range h.rnd.Perm(len(last)) {
		if last[i] == nil {
			h.unregister(i)
			h.link(i, h.rnd.IntN(2) == 0)
			continue
		}
		if h.rnd.IntN(2) == 0 {
			h.link(i, true)
		}
		h.register(*last[i])
		h.link(i, true)
	}
	h.wait(func(s Snapshot) bool {
		return !slices.ContainsFunc(s.Streams, func(s StreamState) bool { return s.Pending }) &&
			!slices.ContainsFunc(s.Targets, func(t TargetState) bool { return len(t.Legs) == 0 || !t.Legs[0].Up })
	})
}

// names returns a stream's table in the data plane, by the names of targets.
func (h *history) names(stream string) []string {
	s := h.Snapshot()
	names := map[uint16]string{}
	for _, target := range s.Targets {
		names[target.ID] = target.Name
	}
	var table []string
	h.plane.set(func() {
		for _, id := range h.plane.tables[s.Stream(stream).ID] {
			table = append(table, names[id])
		}
	})
	return table
}

// ideal is the table that follows from the last states alone.
func ideal(t *testing.T, stream string, last []*Target) []string {
	t.Helper()
	var names []string
	var weights []uint16
	for _, target := range last {
		if target == nil || target.Draining || !slices.Contains(target.Streams, stream) {
			continue
		}
		names = append(names, target.Name)
		if target.Weight == nil {
			weights = append(weights, 1)
		} else {
			weights = append(weights, *target.Weight)
		}
	}
	slots, err := maglev.BuildWeighted(testSize, names, weights)
	if err != nil {
		t.Fatal(err)
	}
	var table []string
	for _, slot := range slots {
		if slot == 0 {
			return nil
		}
		table = append(table, names[slot-1])
	}
	return table
}

// TestReplicasAgree is the identity rule: replicas that arrive at the same
// targets, weights and draining ones have the same tables, whatever has happened
// to each of them on the way and in whatever order.
func TestReplicasAgree(t *testing.T) {
	const n, replicas, rounds = 40, 3, 5
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds {
		last := make([]*Target, n)
		for i := range last {
			if rnd.IntN(4) > 0 {
				target := randomTarget(rnd, i)
				last[i] = &target
			}
		}
		ids := map[string]bool{}
		for replica := range replicas {
			h := &history{
				fixture: start(t, Stream{Name: "sip"}, Stream{Name: "web"}),
				rnd:     rand.New(rand.NewPCG(seed, uint64(1+round*replicas+replica))), links: map[int]int{},
			}
			h.wander(n, 60*replica)
			h.arrive(last)
			for _, stream := range bothStreams {
				if got, want := h.names(stream), ideal(t, stream, last); !slices.Equal(got, want) {
					t.Fatalf("round %d, replica %d: the table of %s is another", round, replica, stream)
				}
			}
			var numbers strings.Builder
			for _, target := range h.Snapshot().Targets {
				fmt.Fprintf(&numbers, "%s=%d ", target.Name, target.ID)
			}
			ids[numbers.String()] = true
			h.Close()
		}
		// Else the histories were no test.
		if len(ids) != replicas {
			t.Errorf("round %d: replicas number their targets alike", round)
		}
	}
}
