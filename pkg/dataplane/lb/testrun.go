// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/netns"
)

// Verdict is what the program decided, and by what.
type Verdict struct {
	Reason Reason
	Stream uint32 // when a rule matched
	Flow   uint32 // when a rule matched
	Slot   uint32 // when the stream had a table
	Target uint16 // when the stream had a target
	// Gateway is the next hop of a reply that is forwarded.
	Gateway netip.Addr
}

// skb is struct __sk_buff, the context of a test run.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol uint32
	VLANPresent, VLANTCI, VLANProto, Priority  uint32
	IngressIfindex, Ifindex, TCIndex           uint32
	CB                                         [5]uint32
	_                                          [31]uint32
}

// frameSpace is how much a program may lengthen a frame.
const frameSpace = 64

// Trace passes a frame through the live program as if it had come in on the
// external interface and returns the verdict and the frame as it would leave.
// Nothing is sent, counted or remembered.
func (l *LB) Trace(frame []byte) (Verdict, []byte, error) {
	return l.testRun(frame, l.id.trace, func(o *objects) *ebpf.Program { return o.Lb })
}

// TraceReply is Trace for a frame that comes in from a leg.
func (l *LB) TraceReply(frame []byte) (Verdict, []byte, error) {
	return l.testRun(frame, l.id.trace, func(o *objects) *ebpf.Program { return o.LbReply })
}

func (l *LB) testRun(frame []byte, mark uint32, prog func(*objects) *ebpf.Program) (v Verdict, out []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return Verdict{}, nil, errClosed
	}
	err = netns.Do(l.cfg.NetNS, func() error {
		v, out, err = l.run(prog(l.objs), frame, mark)
		return err
	})
	return v, out, err
}

// run is a test run; the calling thread is in the namespace.
func (l *LB) run(prog *ebpf.Program, frame []byte, mark uint32) (Verdict, []byte, error) {
	var after skb
	opts := ebpf.RunOptions{
		Data:       frame,
		DataOut:    make([]byte, len(frame)+frameSpace),
		Context:    skb{Mark: mark, Ifindex: uint32(l.id.ifindex)},
		ContextOut: &after,
	}
	if _, err := prog.Run(&opts); err != nil {
		return Verdict{}, nil, fmt.Errorf("test run: %w", err)
	}
	v := Verdict{
		Reason: Reason(after.CB[0]), Stream: after.CB[1], Target: uint16(after.CB[2]), Flow: after.CB[3], Slot: after.CB[4],
	}
	if v.Reason == ReplyForwarded {
		hi, lo := uint64(after.CB[1])|uint64(after.CB[2])<<32, uint64(after.CB[3])|uint64(after.CB[4])<<32
		v = Verdict{Reason: v.Reason, Gateway: hopAddr(hi, lo)}
	}
	return v, opts.DataOut, nil
}
