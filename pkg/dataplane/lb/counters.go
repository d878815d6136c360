// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
)

// Counters returns the packets of every reason, those with none included.
func (l *LB) Counters() (map[Reason]uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return nil, errClosed
	}
	out := make(map[Reason]uint64, reasons)
	for r := Forwarded; r < reasons; r++ {
		var perCPU []uint64
		if err := l.objs.LbStats.Lookup(uint32(r), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", r, err)
		}
		out[r] = 0
		for _, n := range perCPU {
			out[r] += n
		}
	}
	return out, nil
}

// TargetCounters returns what was forwarded to a target since it was set.
func (l *LB) TargetCounters(id uint16) (packets, bytes uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.target(id); err != nil {
		return 0, 0, err
	}
	var perCPU []bpfLbTraffic
	if err := l.objs.LbTraffic.Lookup(uint32(id), &perCPU); err != nil {
		return 0, 0, fmt.Errorf("read counters of target %d: %w", id, err)
	}
	for _, t := range perCPU {
		packets += t.Packets
		bytes += t.Bytes
	}
	return packets, bytes, nil
}
