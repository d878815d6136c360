// SPDX-License-Identifier: Apache-2.0

package inspecttest

import (
	"context"
	"slices"
	"sync"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Plane is a data plane that does what it is told to.
type Plane struct {
	// Decide is the program; Decide of this package by default.
	Decide func(frame []byte, reply bool) (lb.Verdict, []byte)
	// Tick is called before the counters are read.
	Tick func(*Plane)
	// Events are reported to each observer, whatever its filter.
	Events []lb.Event
	Err    error // of every call, if set

	mu      sync.Mutex
	Reasons map[lb.Reason]uint64
	Traffic map[uint32]lb.Traffic // by flow, 1000 + stream, or 2000 + target
	Slow    lb.SlowPathCounters
	filters []lb.Filter
}

// Trace implements inspect.Tracer.
func (p *Plane) Trace(frame []byte) (lb.Verdict, []byte, error) { return p.run(frame, false) }

// TraceReply implements inspect.Tracer.
func (p *Plane) TraceReply(frame []byte) (lb.Verdict, []byte, error) { return p.run(frame, true) }

func (p *Plane) run(frame []byte, reply bool) (lb.Verdict, []byte, error) {
	decide := p.Decide
	if decide == nil {
		decide = Decide
	}
	v, out := decide(frame, reply)
	return v, out, p.Err
}

// Decide knows the VIPs' ports 80 and 443 for TCP and UDP, and that everything
// else from outside has no flow.
func Decide(frame []byte, reply bool) (lb.Verdict, []byte) {
	p, err := packet.Parse(frame)
	isVIP := func(dst bool) bool {
		a := p.Src
		if dst {
			a = p.Dst
		}
		return a == VIP4 || a == VIP6 || Range.Contains(a)
	}
	switch {
	case reply && !isVIP(false):
		return lb.Verdict{Reason: lb.PassReply}, frame
	case reply && !p.Src.Is4():
		return lb.Verdict{Reason: lb.DropNoGateway}, nil
	case reply:
		out := slices.Clone(frame)
		out[22]--
		if p.Proto == packet.TCP && p.SrcPort == 8443 {
			out[34], out[35] = 443>>8, 443&255
		}
		return lb.Verdict{Reason: lb.ReplyForwarded}, out
	case p.Ethernet.Dst != MAC:
		return lb.Verdict{Reason: lb.PassNotHost}, frame
	case !isVIP(true):
		return lb.Verdict{Reason: lb.PassNotVIP}, frame
	case err != nil:
		return lb.Verdict{Reason: lb.DropMalformed}, nil
	case p.Proto == packet.SCTP:
		return lb.Verdict{Reason: lb.DropNoTarget, Flow: 13, Stream: 1}, nil
	case Range.Contains(p.Dst), p.DstPort != 80 && p.DstPort != 443:
		return lb.Verdict{Reason: lb.DropNoFlow}, nil
	}
	v := lb.Verdict{Reason: lb.Forwarded, Flow: 10, Stream: 2, Target: 7}
	v.Slot = packet.HashPick(packet.FlowHash(p.Src, p.Dst, p.Proto, p.SrcPort, p.DstPort), TableSize)
	if p.TTL <= 1 {
		v.Reason = lb.DropTTL
		return v, nil
	}
	out := packet.Ethernet{Dst: Target, Src: Leg}.Frame(p.EtherType, frame[p.L3:])
	if p.Dst.Is4() {
		out[22]--
		if p.DstPort == 443 && p.Proto == packet.TCP {
			out[36], out[37] = 8443>>8, 8443&255
		}
	} else {
		out[21]--
	}
	return v, out
}

// Observe implements inspect.Observer.
func (p *Plane) Observe(ctx context.Context, f lb.Filter, fn func(lb.Event)) error {
	p.mu.Lock()
	p.filters = append(p.filters, f)
	p.mu.Unlock()
	for _, e := range p.Events {
		fn(e)
	}
	if p.Err != nil {
		return p.Err
	}
	<-ctx.Done()
	return ctx.Err()
}

// Filters returns the filters of all observers so far.
func (p *Plane) Filters() []lb.Filter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.filters)
}

// Counters implements inspect.Counters.
func (p *Plane) Counters() (map[lb.Reason]uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Tick != nil {
		p.Tick(p)
	}
	out := map[lb.Reason]uint64{}
	for r, n := range p.Reasons {
		out[r] = n
	}
	return out, p.Err
}

func (p *Plane) traffic(key uint32) (lb.Traffic, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Traffic[key], p.Err
}

// FlowTraffic implements inspect.Counters.
func (p *Plane) FlowTraffic(flow uint32) (lb.Traffic, error) { return p.traffic(flow) }

// StreamTraffic implements inspect.Counters.
func (p *Plane) StreamTraffic(stream uint32) (lb.Traffic, error) { return p.traffic(1000 + stream) }

// TargetTraffic implements inspect.Counters.
func (p *Plane) TargetTraffic(id uint16) (lb.Traffic, error) { return p.traffic(2000 + uint32(id)) }

// SlowPath implements inspect.SlowPath.
func (p *Plane) SlowPath() lb.SlowPathCounters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Slow
}
