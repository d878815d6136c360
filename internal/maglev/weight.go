// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"errors"
	"fmt"
	"strconv"
)

// Weights of backends. A schedule tells turns apart because weights are small.
const (
	DefaultWeight = 1
	MaxWeight     = 1000
)

// ErrWeight says that a weight is not a whole number from 0 to MaxWeight.
var ErrWeight = errors.New("weight is out of range")

// ParseWeight reads a weight: a whole decimal number from 0 to MaxWeight.
func ParseWeight(text string) (uint16, error) {
	weight, err := strconv.ParseUint(text, 10, 16)
	if err != nil || weight > MaxWeight {
		return 0, fmt.Errorf("%w: %q is not a whole number from 0 to %d", ErrWeight, text, MaxWeight)
	}
	return uint16(weight), nil
}

// A schedule says whose turn it is. A backend of weight w has its k-th turn at
// the time (2k-1)/w: the order in which Webster's (Sainte-Laguë's) method of
// apportionment gives out seats, which favours neither the heavy nor the light.
// When two turns come depends on nothing but the two weights, so that a third
// backend that comes, goes or gets another weight does not reorder them.
//
// Backends of one weight have all of their turns at the same times, so it is
// the classes of equal weight that are queued: a step costs as many comparisons
// as there are doublings in the number of different weights, and nothing is
// spent on rounds without a turn.
type schedule struct {
	turns   []turn  // a heap, earliest first
	classes []class // heaviest first
}

// class is the backends of one weight.
type class struct {
	weight  uint64
	members []backend
	turns   uint64 // taken
}

// turn is a point of time and, in its lowest bits, the index of the class whose
// turn it is, so that the heavier go first when times are equal. The time's
// fraction has timeBits bits: different times (2k-1)/w are at least 1/(999*1000)
// apart, more than 1/2^timeBits, so rounding them down keeps their order. There
// is room for 2^32 turns, as many as the largest table has slots.
type turn uint64

const (
	timeBits  = 20
	classBits = 10 // MaxWeight < 1<<classBits
)

// newSchedule takes the backends sorted by weight, heaviest first.
func newSchedule(backends []backend) *schedule {
	s := &schedule{}
	for first, end := 0, 0; first < len(backends); first = end {
		for end < len(backends) && backends[end].weight == backends[first].weight {
			end++
		}
		s.classes = append(s.classes, class{weight: uint64(backends[first].weight), members: backends[first:end]})
		// The heavier have their first turns earlier: the heap is in order.
		s.turns = append(s.turns, s.turnOf(len(s.classes)-1))
	}
	return s
}

// turnOf returns the next turn of a class.
func (s *schedule) turnOf(index int) turn {
	c := &s.classes[index]
	c.turns++
	return turn((2*c.turns-1)<<timeBits/c.weight<<classBits | uint64(index))
}

// next returns the backends whose turn it is.
func (s *schedule) next() []backend {
	index := int(s.turns[0] & (1<<classBits - 1))
	s.sink(s.turnOf(index))
	return s.classes[index].members
}

// sink replaces the earliest turn by a later one.
func (s *schedule) sink(t turn) {
	at := 0
	for {
		child := 2*at + 1
		if child >= len(s.turns) {
			break
		}
		if right := child + 1; right < len(s.turns) && s.turns[right] < s.turns[child] {
			child = right
		}
		if t <= s.turns[child] {
			break
		}
		s.turns[at] = s.turns[child]
		at = child
	}
	s.turns[at] = t
}
