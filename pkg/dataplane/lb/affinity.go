// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"sync/atomic"
)

// SetMembers says which targets belong to a stream, in its table or not. It
// matters for affinity alone: a flow stays with its target while that is a member,
// also when the table has no slot for it any more, or there is none.
func (l *LB) SetMembers(stream uint32, targets []uint16) error {
	bits := make([]uint64, memberWords(l.cfg))
	for _, id := range targets {
		if id == 0 || int(id) >= l.cfg.MaxTargets {
			return fmt.Errorf("members of stream %d: target %d: not in 1 to %d", stream, id, l.cfg.MaxTargets-1)
		}
		bits[id/64] |= 1 << (id % 64)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.stream(stream); err != nil {
		return err
	}
	size := 8 * len(bits)
	for i, word := range bits {
		atomic.StoreUint64(at[uint64](l.members, int(stream)*size+8*i), word)
	}
	return nil
}
