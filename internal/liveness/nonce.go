// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// bootShift is where the bits begin that tell boots apart. Those below count
// microseconds, and hold 8.9 years of them.
const bootShift = 48

// firstNonce is greater than all nonces of earlier processes of this boot: none
// sends a frame per microsecond.
func firstNonce() uint64 {
	h := fnv.New64a()
	// Without them (no /proc) every boot looks the same, and only a death that
	// is noticed separates them.
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	// The clock since boot has an offset in a time namespace.
	clock, _ := os.Readlink("/proc/self/ns/time")
	_, _ = h.Write(append(id, clock...))
	var since unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) // never fails
	return h.Sum64()>>bootShift<<bootShift | uint64(since.Nano()/1000)&(1<<bootShift-1)
}

func (l *Liveness) nextNonce() uint64 {
	l.nonce++
	return l.nonce
}

// maxBoots is how many boots of a node are remembered.
const maxBoots = 8

// boot is what was seen of one boot of a node.
type boot struct {
	id      uint64 // the nonces' upper bits
	highest uint64 // nonce
}

// boots are those of a node; the last one is the present one.
type boots []boot

// order says where a nonce belongs.
type order uint8

const (
	present  order = iota // to the present boot
	switched              // to a later boot, which is the present one now
	past                  // to an earlier boot
)

func (b *boots) order(nonce uint64) order {
	id := nonce >> bootShift
	last := len(*b) - 1
	for i, known := range *b {
		switch {
		case known.id != id:
			continue
		case i == last:
			(*b)[i].highest = max(known.highest, nonce)
			return present
		case nonce <= known.highest:
			return past
		}
		*b = append((*b)[:i], (*b)[i+1:]...) // it is back
		break
	}
	if len(*b) == maxBoots {
		*b = (*b)[1:]
	}
	*b = append(*b, boot{id: id, highest: nonce})
	return switched
}
