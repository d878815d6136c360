// SPDX-License-Identifier: Apache-2.0

package maglev

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// DefaultSize is the table size used where none is configured: the largest
// size whose slots a 16-bit number nearly addresses, good for 100 backends at
// 0.56 % disruption.
const DefaultSize = 65537

// MaxBackends is the largest number of names a table can tell apart.
const MaxBackends = math.MaxUint16

// Errors of Build and BuildWeighted; they are wrapped with the offending value.
var (
	ErrSize      = errors.New("table size is not a prime number")
	ErrCrowded   = errors.New("more backends than the table can hold")
	ErrDuplicate = errors.New("duplicate backend name")
)

// backend is one taker of turns.
type backend struct {
	name   string
	weight uint16 // scales how often its turn comes; not 0
	slot   uint16 // what its slots hold: 1-based index into the caller's names
	next   uint32 // next position of its permutation
	skip   uint32 // distance between two positions, 1 to size-1
}

// Build returns a table of size slots for the named backends. A slot holds
// 1 + the index of its backend in names, so 0 means no backend, which all slots
// hold when names is empty. The size has to be prime and at least len(names);
// the names have to be unique. Their order does not matter but for the meaning
// of the indexes.
func Build(size uint32, names []string) ([]uint16, error) { return BuildWeighted(size, names, nil) }

// BuildWeighted is Build with the weights of the backends, 0 to MaxWeight, in
// the order of their names. A backend of weight 0 has no slots; weights that
// are all the same are no weights, and so are none (nil).
//
// A backend's share differs from size*weight/sum by at most
// 1/2 + n*weight/(2*sum) slots, n being the number of backends with slots and
// sum that of their weights. One whose part of the sum is less than half a slot
// may have none.
func BuildWeighted(size uint32, names []string, weights []uint16) ([]uint16, error) {
	if !IsPrime(size) {
		return nil, fmt.Errorf("%w: %d", ErrSize, size)
	}
	if len(names) > MaxBackends || uint64(len(names)) > uint64(size) {
		return nil, fmt.Errorf("%w: %d backends, %d slots", ErrCrowded, len(names), size)
	}
	if weights != nil && len(weights) != len(names) {
		return nil, fmt.Errorf("%w: %d for %d backends", ErrWeight, len(weights), len(names))
	}
	backends := make([]backend, len(names))
	for i, name := range names {
		backends[i] = newBackend(name, uint16(i+1), size)
		if weights != nil {
			backends[i].weight = weights[i]
		}
		if backends[i].weight > MaxWeight {
			return nil, fmt.Errorf("%w: %q has %d", ErrWeight, name, weights[i])
		}
	}
	slices.SortFunc(backends, func(a, b backend) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(backends); i++ {
		if backends[i].name == backends[i-1].name {
			return nil, fmt.Errorf("%w: %q", ErrDuplicate, backends[i].name)
		}
	}
	backends = slices.DeleteFunc(backends, func(b backend) bool { return b.weight == 0 })
	table := make([]uint16, size)
	if len(backends) > 0 {
		fill(table, backends)
	}
	return table, nil
}

func newBackend(name string, slot uint16, size uint32) backend {
	sum := sha256.Sum256([]byte(name))
	b := backend{
		name: name, weight: DefaultWeight, slot: slot,
		next: uint32(binary.BigEndian.Uint64(sum[0:]) % uint64(size)), skip: 1,
	}
	if size > 2 {
		b.skip += uint32(binary.BigEndian.Uint64(sum[8:]) % uint64(size-1))
	}
	return b
}

// fill lets the backends, which come sorted by name, take turns until every
// slot is taken. Most of its probes meet taken slots, so taken-ness is kept in
// a bitmap that stays in the first-level cache where the table itself would
// not.
func fill(table []uint16, backends []backend) {
	slices.SortStableFunc(backends, func(a, b backend) int { return cmp.Compare(b.weight, a.weight) })
	size := uint32(len(table))
	taken := make([]uint64, (size+63)/64)
	turns := newSchedule(backends)
	for left := size; ; {
		class := turns.next()
		for i := range class {
			b := &class[i]
			at := b.next
			for taken[at/64]&(1<<(at%64)) != 0 {
				at = step(at, b.skip, size)
			}
			taken[at/64] |= 1 << (at % 64)
			table[at] = b.slot
			b.next = step(at, b.skip, size)
			if left--; left == 0 {
				return
			}
		}
	}
}

// step is (at + skip) mod size, without a division and without overflow.
func step(at, skip, size uint32) uint32 {
	if at >= size-skip {
		return at - (size - skip)
	}
	return at + skip
}

// IsPrime tells whether n is a prime number.
func IsPrime(n uint32) bool {
	if n < 2 || n%2 == 0 {
		return n == 2
	}
	for d := uint64(3); d*d <= uint64(n); d += 2 {
		if uint64(n)%d == 0 {
			return false
		}
	}
	return true
}
