// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Traffic is what was counted since the thing that it counts for was set. Bytes
// are those of the frames, from the Ethernet header on.
type Traffic struct{ Packets, Bytes uint64 }

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

// TargetTraffic returns what was forwarded to a target since it was set.
func (l *LB) TargetTraffic(id uint16) (Traffic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.target(id); err != nil {
		return Traffic{}, err
	}
	t, err := readTraffic(l.objs.LbTargetLoad, uint32(id))
	slow := l.slow.engine.Traffic(id)
	return Traffic{t.Packets + slow.Packets, t.Bytes + slow.Bytes}, err
}

// StreamTraffic returns what was forwarded of a stream since ForgetStream.
func (l *LB) StreamTraffic(id uint32) (Traffic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.stream(id); err != nil {
		return Traffic{}, err
	}
	return readTraffic(l.objs.LbStreamLoad, id)
}

// FlowTraffic returns what was forwarded by the rules with a number since
// ForgetFlow.
func (l *LB) FlowTraffic(id uint32) (Traffic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return Traffic{}, errClosed
	}
	return readTraffic(l.objs.LbFlowLoad, id)
}

// ForgetFlow clears the counters of a number that is to stand for another rule.
func (l *LB) ForgetFlow(id uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return errClosed
	}
	return clearTraffic(l.objs.LbFlowLoad, id)
}

// ForgetStream clears the counters of a number that is to stand for another
// stream.
func (l *LB) ForgetStream(id uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.stream(id); err != nil {
		return err
	}
	return clearTraffic(l.objs.LbStreamLoad, id)
}

func readTraffic(m *ebpf.Map, id uint32) (sum Traffic, err error) {
	var perCPU []bpfLbTraffic
	if err := m.Lookup(id, &perCPU); err != nil {
		return Traffic{}, fmt.Errorf("read counters %d of %s: %w", id, m, err)
	}
	for _, t := range perCPU {
		sum.Packets += t.Packets
		sum.Bytes += t.Bytes
	}
	return sum, nil
}

func clearTraffic(m *ebpf.Map, id uint32) error {
	zero := make([]bpfLbTraffic, ebpf.MustPossibleCPU())
	if err := m.Put(id, zero); err != nil {
		return fmt.Errorf("clear counters %d of %s: %w", id, m, err)
	}
	return nil
}
