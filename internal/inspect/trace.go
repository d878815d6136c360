// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Decision is what became of a frame and what led to it. What the program does
// not come to is zero.
type Decision struct {
	Packet     Packet
	VIP        netip.Prefix
	Mismatches []Mismatch // in the order of precedence
	Flow       string
	Priority   int32
	Stream     string
	Slot, Size uint32 // of the stream's table; Size 0: not balanced
	Target     string
	Interface  string // the leg
	TargetMAC  net.HardwareAddr
	From, To   uint16 // port translation; equal: none
	Reason     Reason
	Rewritten  []byte // nil if it does not leave, or leaves unchanged
	Notes      []string
	// Disagreements are how rules and program contradict each other.
	Disagreements []string
}

// Rules and program are read one after the other, and the rules may change in
// between. So a disagreement counts when it persists.
const (
	attempts = 4
	between  = 50 * time.Millisecond
)

// Trace runs a frame, from outside or as a reply of a target, through the
// program and explains what it decides.
func (r Replica) Trace(ctx context.Context, frame []byte, reply bool) (Decision, error) {
	for n := 1; ; n++ {
		d, err := r.trace(frame, reply)
		if err != nil || len(d.Disagreements) == 0 || n == attempts {
			return d, err
		}
		select {
		case <-ctx.Done():
			return Decision{}, ctx.Err()
		case <-time.After(between):
		}
	}
}

func (r Replica) trace(frame []byte, reply bool) (Decision, error) {
	g := ground{config: r.State.Config(), snapshot: r.State.Snapshot(), vlan: r.VLAN}
	if len(r.MAC) == len(g.mac) {
		g.mac = packet.MAC(r.MAC)
	}
	run := r.Plane.Trace
	if reply {
		run = r.Plane.TraceReply
	}
	verdict, out, err := run(frame)
	if err != nil {
		return Decision{}, fmt.Errorf("run the program of replica %s: %w", r.Name, err)
	}
	p, problem := packet.Parse(frame)
	t := tracing{
		ground: g, names: newNames(g.snapshot), verdict: verdict, reply: reply, packet: p,
		Decision: Decision{Packet: summarize(frame, p, problem), Reason: Describe(verdict.Reason.String())},
	}
	if reply {
		t.explanation = g.reply(p, problem)
	} else {
		t.explanation = g.outside(frame, p, problem)
	}
	t.VIP, t.Mismatches, t.Notes = t.vip, t.mismatches, t.notes
	t.compareReason()
	t.path()
	if t.Reason.Action != Dropped && t.Reason.Action != Deferred && !bytes.Equal(frame, out) {
		t.Rewritten = out
		t.rewritten()
	}
	return t.Decision, nil
}

// tracing is a trace in the making.
type tracing struct {
	ground
	explanation
	Decision
	names   names
	verdict lb.Verdict
	reply   bool
	packet  packet.Packet
}

func (t *tracing) disagree(format string, args ...any) {
	t.Disagreements = append(t.Disagreements, fmt.Sprintf(format, args...))
}

func (t *tracing) compareReason() {
	if len(t.reasons) > 0 && !slices.Contains(t.reasons, t.Reason.Name) {
		t.disagree("by the rules it is %s, the program says %s", strings.Join(t.reasons, " or "), t.Reason.Name)
	}
}

// Reasons of packets from outside of which the program knows the flow, and of
// which it also knows the target.
var (
	balanced = []string{"forwarded", "icmp_forwarded", "ttl_expired", "too_big", "fragmented", "nat"}
	matched  = append([]string{"no_target"}, balanced...)
)

// path names what the program says it went by.
func (t *tracing) path() {
	ping := slices.Contains(t.reasons, "no_target") && t.flow == nil
	switch {
	case t.reply:
		return
	case t.Reason.Name == "fragment_forwarded":
		t.target(balancer.StreamState{})
		return
	case t.packet.Fragment.Later(), ping, !slices.Contains(matched, t.Reason.Name):
		return
	}
	flow, ok := t.names.flows[t.verdict.Flow]
	if !ok {
		flow.Name = fmt.Sprintf("(number %d)", t.verdict.Flow)
	}
	stream, ok := t.names.streams[t.verdict.Stream]
	if !ok {
		stream.Name = fmt.Sprintf("(number %d)", t.verdict.Stream)
	}
	t.Flow, t.Stream = flow.Name, stream.Name
	for _, f := range t.config.Flows {
		if f.Rule.Name == flow.Name {
			t.Priority = f.Rule.Priority
		}
	}
	if t.flow != nil && t.flow.Rule.Name != flow.Name {
		t.disagree("by the rules it is of flow %s, the program took flow %s", t.flow.Rule.Name, flow.Name)
	}
	if t.flow != nil && t.flow.Stream != stream.Name {
		t.disagree("by the rules it is of stream %s, the program took stream %s", t.flow.Stream, stream.Name)
	}
	if slices.Contains(balanced, t.Reason.Name) {
		t.Slot, t.Size = t.verdict.Slot, stream.TableSize
		t.target(stream)
		if t.size > 0 && t.config.Affinity == 0 && t.Slot != t.slot {
			t.disagree("by its hash it is of slot %d, the program took slot %d", t.slot, t.Slot)
		}
	}
}

// target names the target of a packet of a stream, if that is known.
func (t *tracing) target(stream balancer.StreamState) {
	target, ok := t.names.targets[t.verdict.Target]
	if !ok {
		t.Target = fmt.Sprintf("(number %d)", t.verdict.Target)
		t.disagree("the program sends it to target number %d, which is not there", t.verdict.Target)
		return
	}
	leg := activeLeg(target)
	t.Target, t.Interface, t.TargetMAC = target.Name, leg.Interface, leg.MAC
	if stream.Name == "" || slices.Contains(stream.Targets, target.Name) {
		return
	}
	if t.config.Affinity > 0 {
		t.Notes = append(t.Notes, fmt.Sprintf("Target %s is not in the stream's table any more: the connection stays with it (affinity).", target.Name))
		return
	}
	t.disagree("the table of stream %s does not have target %s", stream.Name, target.Name)
}

// rewritten compares how the frame leaves.
func (t *tracing) rewritten() {
	after, _ := packet.Parse(t.Rewritten)
	forwarded := t.Reason.Name == "forwarded"
	switch {
	case forwarded:
		t.From, t.To = t.packet.DstPort, after.DstPort
	case t.Reason.Name == "reply_forwarded":
		t.From, t.To = t.packet.SrcPort, after.SrcPort
	default:
		return
	}
	if t.To != t.port && slices.Contains(t.reasons, t.Reason.Name) {
		t.disagree("by the rules the port becomes %d, the program made it %d", t.port, t.To)
	}
	if mac := net.HardwareAddr(after.Ethernet.Dst[:]); forwarded && len(t.TargetMAC) > 0 && !bytes.Equal(mac, t.TargetMAC) {
		t.disagree("the MAC of the target is %s, the program sends it to %s", t.TargetMAC, mac)
	}
}
