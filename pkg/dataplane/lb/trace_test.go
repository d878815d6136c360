// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/slowpath"
)

// remembered is all that the programs write.
type remembered struct {
	Counted counted
	Frags   map[bpfLbFragKey]bpfLbFrag
	Pins    map[bpfLbFlowKey]bpfLbPin
	Limits  []uint64
	Control bpfLbControl
	Punts   []slowpath.Event
}

func (w *fixtureWorld) memory(t *testing.T) remembered {
	t.Helper()
	m := remembered{
		Counted: w.counted(t), Control: *at[bpfLbControl](w.control, 0), Punts: w.punts(t),
		Frags: entries[bpfLbFragKey, bpfLbFrag](t, w.objs.LbFrags),
		Pins:  entries[bpfLbFlowKey, bpfLbPin](t, w.objs.LbPins),
	}
	for i := range w.objs.LbLimits.MaxEntries() {
		var next uint64
		check(t, w.objs.LbLimits.Lookup(i, &next))
		m.Limits = append(m.Limits, next)
	}
	return m
}

// same says that nothing has been written since.
func (m remembered) same(o remembered) bool {
	return m.Counted == o.Counted && m.Control == o.Control && maps.Equal(m.Frags, o.Frags) && maps.Equal(m.Pins, o.Pins) &&
		slices.Equal(m.Limits, o.Limits) && len(m.Punts)+len(o.Punts) == 0
}

func entries[K comparable, V any](t *testing.T, m *ebpf.Map) map[K]V {
	t.Helper()
	out := make(map[K]V)
	var key K
	var value V
	it := m.Iterate()
	for it.Next(&key, &value) {
		out[key] = value
	}
	check(t, it.Err())
	return out
}

// TestTraceLeavesNoTrace traces every fixture before it is passed: the program
// says what becomes of it, without a trace, and the packet finds everything as it
// was.
func TestTraceLeavesNoTrace(t *testing.T) {
	w := newFixtureWorld(t, Config{MaxFragments: 1024})
	setFixtureRules(t, w.LB, Rules{MSSClamp: true, Affinity: 1000})
	check(t, w.SetMembers(1, []uint16{1}))
	w.slow.SetWaiting(true) // so that first fragments would be reported
	list := allFixtures(toUs)
	for _, f := range append(list, passFixtures()...) {
		trace := w.Trace
		if f.reply {
			trace = w.TraceReply
		}
		before := w.memory(t)
		v, out, err := trace(slices.Clone(f.frame))
		check(t, err)
		if v.Gateway.IsValid() != (v.Reason == ReplyForwarded) {
			t.Errorf("%s: traced %+v", f.name, v)
		}
		if v.Gateway = (netip.Addr{}); v != f.want { // which way, TestGatewayChoice says
			t.Errorf("%s: traced %+v (%s), want %+v (%s)", f.name, v, v.Reason, f.want, f.want.Reason)
		}
		if f.out != nil && !slices.Equal(out, f.out) {
			t.Errorf("%s: frame differs (-want +got):\n%s", f.name, cmp.Diff(f.out, out))
		}
		if after := w.memory(t); !before.same(after) {
			t.Fatalf("%s: left a trace (-before +after):\n%s", f.name, cmp.Diff(before, after, cmpopts.EquateComparable(netip.Addr{})))
		}
		got := w.pass(t, f)
		if got.Gateway = (netip.Addr{}); got != f.want {
			t.Errorf("%s: passed %+v, want %+v", f.name, got, f.want)
		}
	}
	if m := w.memory(t); len(m.Pins) == 0 || len(m.Frags) == 0 || m.Control.Remembered == 0 || slices.Max(m.Limits) == 0 {
		t.Errorf("real packets have left no trace either: %+v", m)
	}
}

// pass runs the fixture as a packet, and forgets what is handed over.
func (w *fixtureWorld) pass(t *testing.T, f fixture) Verdict {
	t.Helper()
	test := w.testIn
	if f.reply {
		test = w.testReply
	}
	v, _, err := test(slices.Clone(f.frame))
	check(t, err)
	w.discard(t)
	return v
}

// TestTraceFirst: what is traced before any packet has come is not known later.
func TestTraceFirst(t *testing.T) {
	w := newFixtureWorld(t, Config{})
	setFixtureRules(t, w.LB, Rules{Affinity: 100})
	check(t, w.SetMembers(1, []uint16{1, 3}))
	for _, f := range fixFamilies {
		list := fragmentsOf(toUs, f, packet.UDP, webPort, webPort)
		soon, first := list[0], list[1]
		for range 2 {
			if v, _, err := w.Trace(first.frame); err != nil || v != first.want {
				t.Errorf("first fragment: %+v, %v", v, err)
			}
		}
		soon.run(t, w)
		frame := request(toUs, f.in, packet.TCP, webPort)
		v, _, err := w.Trace(frame)
		check(t, err)
		check(t, w.SetTable(1, []uint16{3}))
		if again, _, err := w.Trace(frame); err != nil || v.Target != 1 || again.Target != 3 {
			t.Errorf("traced to %d, then to %d, %v: the first trace has pinned it", v.Target, again.Target, err)
		}
		w.goes(t, "real", frame, 3)
		check(t, w.SetTable(1, []uint16{1}))
		if v, _, err := w.Trace(frame); err != nil || v.Target != 3 {
			t.Errorf("traced to %d, %v: does not see that it is pinned", v.Target, err)
		}
	}
}
