// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
)

// affinityWorld is a load balancer whose stream 1 has the targets 1 and 3, and
// table 1. Target 70 is in another word of the members.
func affinityWorld(t *testing.T, flows int) *fixtureWorld {
	w := newFixtureWorld(t, Config{})
	w.setAffinity(t, flows)
	for _, id := range []uint16{1, 3, 70} {
		mac, leg := targetMAC(int(id)), legMAC(int(id))
		check(t, w.SetTarget(id, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
	}
	check(t, w.SetMembers(1, []uint16{1, 3, 70}))
	return w
}

func (w *fixtureWorld) setAffinity(t *testing.T, flows int) {
	t.Helper()
	setFixtureRules(t, w.LB, Rules{Affinity: flows})
}

// from is a packet of a client's port to the web port.
func from(f fixFamily, sport uint16) []byte {
	return f.in.Packet(toUs, packet.UDP, f.in.UDP(sport, webPort, nil))
}

// goes checks where a frame goes; 0: nowhere.
func (w *fixtureWorld) goes(t *testing.T, what string, frame []byte, want uint16) {
	t.Helper()
	v, out, err := w.testIn(frame)
	check(t, err)
	reason := Forwarded
	switch p, _ := packet.Parse(frame); {
	case want == 0:
		reason = DropNoTarget
	case p.IsICMP():
		reason = ICMPForwarded
	}
	if v.Target != want || v.Reason != reason {
		t.Errorf("%s: %s to %d, want %s to %d", what, v.Reason, v.Target, reason, want)
	}
	if mac := targetMAC(int(want)); want != 0 && packet.MAC(out) != mac {
		t.Errorf("%s: sent to %x, want %x", what, out[:6], mac)
	}
}

// TestAffinity: a flow stays with its target as long as that belongs to the
// stream.
func TestAffinity(t *testing.T) {
	w := affinityWorld(t, 1000)
	table := func(id uint16) { check(t, w.SetTable(1, []uint16{id})) }
	for _, f := range fixFamilies {
		old, young, third := from(f, 1), from(f, 2), from(f, 3)
		table(1)
		w.goes(t, "first", old, 1)
		table(70)
		w.goes(t, "table changed", old, 1)
		w.goes(t, "new flow", young, 70)
		table(3)
		w.goes(t, "table changed again", young, 70)
		check(t, w.ClearTable(1))
		w.goes(t, "all drain", old, 1)
		w.goes(t, "all drain", young, 70)
		w.goes(t, "all drain, new flow", third, 0)
		table(3)
		check(t, w.SetMembers(1, []uint16{3, 70}))
		w.goes(t, "left", old, 3)
		w.goes(t, "others stay", young, 70)
		check(t, w.SetMembers(1, []uint16{1, 3, 70}))
		w.goes(t, "no way back", old, 3)
		check(t, w.DeleteTarget(70))
		w.goes(t, "deleted", young, 3)
		mac, leg := targetMAC(70), legMAC(70)
		check(t, w.SetTarget(70, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
		w.goes(t, "no way back from deletion", young, 3)
		table(1)
		w.goes(t, "errors follow their flow", errorAbout(f, 2), 3)
		w.goes(t, "errors pin nothing", errorAbout(f, 9), 1)
		table(3)
		w.goes(t, "after an error", from(f, 9), 3)
		w.others(t, f)
	}
}

// errorAbout is an ICMP error about a reply to a client's port.
func errorAbout(f fixFamily, port uint16) []byte {
	about := f.replied.Packet(packet.Ethernet{}, packet.UDP, f.replied.UDP(webPort, port, nil))
	return quote(toUs, f.router(f.in), f.unreachable, 0, about, 0)
}

// others differ from a pinned flow in one thing.
func (w *fixtureWorld) others(t *testing.T, f fixFamily) {
	t.Helper()
	check(t, w.SetTable(1, []uint16{1}))
	w.goes(t, "pinned", from(f, 40), 1)
	check(t, w.SetTable(1, []uint16{3}))
	source := f
	source.in.Src = f.in.Src.Next()
	w.goes(t, "other source", from(source, 40), 3)
	w.goes(t, "other port", from(f, 41), 3)
	w.goes(t, "other protocol", f.in.Packet(toUs, packet.TCP, f.in.TCP(40, webPort, 2, nil)), 3)
	w.goes(t, "other destination port", f.in.Packet(toUs, packet.UDP, f.in.UDP(40, natPort, nil)), 3)
	w.goes(t, "still pinned", from(f, 40), 1)
}

// TestAffinityForgets: another number of flows forgets all, other rules do not.
func TestAffinityForgets(t *testing.T) {
	w := affinityWorld(t, 100)
	frame := from(fixFamilies[0], 1)
	step := func(what string, flows int, want uint16) {
		t.Helper()
		w.setAffinity(t, flows)
		mac, leg := targetMAC(3), legMAC(3)
		check(t, w.SetTarget(3, Target{IfIndex: 1, MAC: mac[:], LegMAC: leg[:]}))
		check(t, w.SetTable(1, []uint16{3}))
		w.goes(t, what, frame, want)
	}
	w.goes(t, "first", frame, 1)
	step("same", 100, 1)
	step("more", 200, 3)
	check(t, w.SetTable(1, []uint16{1}))
	w.goes(t, "pinned anew", frame, 3)
	w.setAffinity(t, 0)
	w.goes(t, "off", frame, 1)
	check(t, w.SetTable(1, []uint16{3}))
	w.goes(t, "off is off", frame, 3)
	if n := pins(t, w.LB); n != 0 {
		t.Errorf("%d pins while it is off", n)
	}
	check(t, w.SetTable(1, []uint16{1}))
	step("on again", 100, 3)
	big := Rules{Affinity: 100, Flows: manyRules(3000, netip.PrefixFrom(fixVIP4, 32))}
	before := w.objs.blob
	setFixtureRules(t, w.LB, big)
	check(t, w.SetTable(1, []uint16{1}))
	if w.objs.blob == before {
		t.Error("the rules did not need other programs")
	}
	w.goes(t, "other programs", frame, 3)
}

// TestAffinityIsBounded: more flows than it may remember make it forget others.
func TestAffinityIsBounded(t *testing.T) {
	const most, flows = 256, 5000
	w := affinityWorld(t, most)
	check(t, netns.Do(w.cfg.NetNS, func() error {
		for port := range uint16(flows) {
			if v, _, err := w.run(w.objs.Lb, from(fixFamilies[1], 1+port), 0); err != nil || v.Target != 1 {
				return fmt.Errorf("flow %d: %+v, %w", port, v, err)
			}
		}
		return nil
	}))
	if n := pins(t, w.LB); n == 0 || n > most {
		t.Errorf("%d pins, want 1 to %d", n, most)
	}
	check(t, w.SetTable(1, []uint16{3}))
	w.goes(t, "last flow", from(fixFamilies[1], flows), 1)
	w.goes(t, "first flow", from(fixFamilies[1], 1), 3)
}

// pins counts the flows that are pinned.
func pins(t *testing.T, l *LB) (n int) {
	t.Helper()
	var key bpfLbFlowKey
	var pin bpfLbPin
	it := l.objs.LbPins.Iterate()
	for it.Next(&key, &pin) {
		n++
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		t.Fatal(err)
	}
	return n
}

func TestSetMembersErrors(t *testing.T) {
	w := affinityWorld(t, 100)
	for want, err := range map[string]error{
		"members of stream 1: target 0: not in 1 to 1023":    w.SetMembers(1, []uint16{1, 0}),
		"members of stream 1: target 1024: not in 1 to 1023": w.SetMembers(1, []uint16{1024}),
		"stream 64: at most 64 streams":                      w.SetMembers(64, []uint16{1}),
		"affinity of -1 flows: not in 0 to 16777216":         w.SetRules(Rules{Affinity: -1}),
		"affinity of 16777217 flows: ":                       w.SetRules(Rules{Affinity: 1<<24 + 1}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	frame := from(fixFamilies[0], 1)
	w.goes(t, "first", frame, 1)
	check(t, w.SetTable(1, []uint16{3}))
	w.goes(t, "after refused changes", frame, 1)
	check(t, w.SetMembers(1, nil))
	w.goes(t, "nobody", frame, 3)
	check(t, w.SetMembers(63, []uint16{1023}))
	check(t, w.Close())
	if err := w.SetMembers(1, nil); !errors.Is(err, errClosed) {
		t.Errorf("got %v, want %v", err, errClosed)
	}
}
