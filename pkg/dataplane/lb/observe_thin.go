// SPDX-License-Identifier: Apache-2.0

package lb

import "context"

// Trace is TestRun.
func (l *LB) Trace(frame []byte) (Verdict, []byte, error) { return l.TestRun(frame) }

// TraceReply is TestRunReply.
func (l *LB) TraceReply(frame []byte) (Verdict, []byte, error) { return l.TestRunReply(frame) }

// Observe reports nothing until ctx ends.
func (l *LB) Observe(ctx context.Context, _ Filter, _ func(Event)) error {
	<-ctx.Done()
	return ctx.Err()
}

// FlowTraffic knows no traffic of flows.
func (l *LB) FlowTraffic(uint32) (Traffic, error) { return Traffic{}, nil }

// StreamTraffic knows no traffic of streams.
func (l *LB) StreamTraffic(uint32) (Traffic, error) { return Traffic{}, nil }

// TargetTraffic is TargetCounters.
func (l *LB) TargetTraffic(id uint16) (Traffic, error) {
	packets, bytes, err := l.TargetCounters(id)
	return Traffic{Packets: packets, Bytes: bytes}, err
}

// SlowPath knows no slow path.
func (l *LB) SlowPath() SlowPathCounters { return SlowPathCounters{} }
