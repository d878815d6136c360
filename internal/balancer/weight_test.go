// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

func weighted(i int, weight uint16, streams ...string) Target {
	t := wish(i, streams...)
	t.Weight = &weight
	return t
}

func drained(i int, streams ...string) Target {
	t := wish(i, streams...)
	t.Draining = true
	return t
}

// slots returns how many slots of a stream's table the data plane sends to a
// target.
func (f *fixture) slots(stream string, i int) int {
	f.t.Helper()
	s := f.Snapshot()
	id := s.Target(wish(i).Name).ID
	n := 0
	f.plane.set(func() {
		for _, slot := range f.plane.tables[s.Stream(stream).ID] {
			if slot == id {
				n++
			}
		}
	})
	return n
}

// TestWeight: a changed weight is in force when Register returns, and rebuilds
// the tables of the target's streams alone.
func TestWeight(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"}, Stream{Name: "dns"})
	f.join(1, "web", "sip")
	f.join(2, "web")
	f.join(3, "dns")
	f.wantTable("web", 1, 2)
	f.wantTable("sip", 1)
	f.wantTable("dns", 3)
	s := f.Snapshot()
	var writes map[uint32]int
	var placed map[uint16]lb.Target
	f.plane.set(func() {
		f.plane.placed = 0
		writes = map[uint32]int{}
		for id, n := range f.plane.writes {
			writes[id] = n
		}
		placed = map[uint16]lb.Target{}
		for id, target := range f.plane.targets {
			placed[id] = target
		}
	})
	f.register(weighted(1, 3, "web", "sip"))
	// 251 slots, one part of four or three, and at most 1/2 + 2*w/(2*4) more or less.
	if one, two := f.slots("web", 1), f.slots("web", 2); one < 187 || one > 189 || one+two != testSize {
		t.Errorf("weights 3 and 1 have %d and %d slots", one, two)
	}
	f.plane.set(func() {
		web, sip, dns := s.Stream("web").ID, s.Stream("sip").ID, s.Stream("dns").ID
		if f.plane.writes[web] != writes[web]+1 || f.plane.writes[sip] != writes[sip]+1 || f.plane.writes[dns] != writes[dns] {
			t.Errorf("tables were written %v times, %v before", f.plane.writes, writes)
		}
		if f.plane.placed != 0 || len(f.plane.targets) != len(placed) {
			t.Errorf("%d targets were placed", f.plane.placed)
		}
	})
	after := f.Snapshot()
	if got := after.Target("target-1"); got.Weight != 3 || got.ID != s.Target("target-1").ID || !got.Placed {
		t.Errorf("target is %+v", got)
	}
	if got := after.Stream("web"); len(got.Slots) != 2 || got.Slots[0] != f.slots("web", 1) || got.Slots[1] != f.slots("web", 2) {
		t.Errorf("stream is %+v", got)
	}
	// The same again, and back to what it is without a weight.
	f.register(weighted(1, 3, "web", "sip"))
	if f.register(wish(1, "web", "sip")); f.Snapshot().Target("target-1").Weight != 1 {
		t.Errorf("weight %d", f.Snapshot().Target("target-1").Weight)
	}
	if n := f.plane.writes[s.Stream("web").ID]; n != writes[0]+2 {
		t.Errorf("%d tables written, want %d", n, writes[0]+2)
	}
}

// TestDraining: a target that drains, or has weight 0, has left the tables when
// Register returns, but stays placed as long as its leg works.
func TestDraining(t *testing.T) {
	for name, without := range map[string]Target{"weight 0": weighted(1, 0, "web"), "draining": drained(1, "web")} {
		t.Run(name, func(t *testing.T) {
			f := start(t, Stream{Name: "web", MaxTargets: 2})
			f.join(1, "web")
			f.join(2, "web")
			f.wantTable("web", 1, 2)
			id := f.Snapshot().Target("target-1").ID
			place := func(want int) { f.wantPlace(id, want) }
			f.register(without)
			if got := f.plane.table(f.Balancer, "web"); !slices.Equal(got, []string{"target-2"}) {
				t.Fatalf("table has %v", got)
			}
			if got := f.Snapshot().Target("target-1"); got.Draining != without.Draining || !got.Placed || len(got.InTable) != 0 || !slices.Equal(got.Streams, []string{"web"}) {
				t.Errorf("target is %+v", got)
			}
			place(101)
			// It counts.
			var full *MaxTargetsError
			if err := f.Register(t.Context(), wish(3, "web")); !errors.As(err, &full) {
				t.Errorf("a third target of two: %v", err)
			}
			// The last one drains: nobody gets new flows, both are reachable.
			f.register(drained(2, "web"))
			if got := f.plane.table(f.Balancer, "web"); len(got) != 0 {
				t.Errorf("table has %v", got)
			}
			place(101)
			// It goes where its leg goes.
			f.links.remove(101)
			place(0)
			f.links.add(201, ifname(1))
			place(201)
			moved := without
			moved.LegMAC = slices.Clone(without.LegMAC)
			moved.LegMAC[5] = 77
			f.register(moved)
			f.wait(func(s Snapshot) bool { return !s.Stream("web").Pending })
			f.plane.set(func() {
				if f.plane.targets[id].LegMAC[5] != 77 {
					t.Errorf("placed at %+v", f.plane.targets[id])
				}
			})
			// And is a target like others again.
			f.register(wish(1, "web"))
			f.wantTable("web", 1)
			f.register(without)
			if err := f.Unregister(t.Context(), "conn-1"); err != nil {
				t.Fatal(err)
			}
			f.wait(func(s Snapshot) bool { return len(s.Targets) == 1 })
			place(0)
		})
	}
}

// TestMembers: who is in a stream may keep its flows, with slots or without, as
// long as its leg works.
func TestMembers(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	want := func(targets ...int) {
		t.Helper()
		var ids []uint16
		for _, i := range targets {
			ids = append(ids, f.Snapshot().Target(fmt.Sprintf("target-%d", i)).ID)
		}
		slices.Sort(ids)
		f.wait(func(s Snapshot) bool {
			var got []uint16
			f.plane.set(func() { got = f.plane.members[s.Stream("web").ID] })
			return slices.Equal(got, ids)
		})
	}
	f.join(1, "web")
	f.join(2, "web", "sip")
	f.join(3, "sip")
	want(1, 2)
	f.register(drained(1, "web"))
	want(1, 2)
	f.register(drained(2, "web"))
	want(1, 2)
	f.links.carrier(101, false)
	want(2)
	f.register(wish(2, "sip"))
	want()
	f.plane.set(func() { f.plane.fail["SetMembers"] = errInjected })
	if err := f.Register(t.Context(), wish(2, "web")); !errors.Is(err, errInjected) {
		t.Errorf("members that cannot be written: %v", err)
	}
	f.plane.set(func() { f.plane.fail["SetMembers"] = nil })
	want(2)
}

// TestMTU: a target's MTU is that of its leg, whenever that changes.
func TestMTU(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	mtu := func(v int) {
		f.links.event(101, func(link nl.Link) nl.LinkEvent {
			link.MTU = v
			return nl.LinkEvent{Link: link}
		})
	}
	want := func(v int) {
		t.Helper()
		f.wait(func(s Snapshot) bool {
			var got int
			f.plane.set(func() { got = f.plane.targets[s.Target("target-1").ID].MTU })
			return got == v
		})
	}
	f.join(1, "web")
	f.wantTable("web", 1)
	mtu(1400)
	want(1400)
	var writes int
	f.plane.set(func() { writes = f.plane.writes[0] })
	mtu(9000)
	want(9000)
	f.wait(func(s Snapshot) bool { return !s.Stream("web").Pending })
	f.plane.set(func() {
		if f.plane.writes[0] != writes {
			t.Error("the table was written again")
		}
	})
}

// wantPlace waits until the data plane has a target on a link, 0 for none.
func (f *fixture) wantPlace(id uint16, link int) {
	f.t.Helper()
	f.wait(func(s Snapshot) bool {
		var got int
		f.plane.set(func() { got = f.plane.targets[id].IfIndex })
		return got == link
	})
}

// TestJoinsDrained: a target may come without slots, and is placed all the same.
func TestJoinsDrained(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.links.add(101, ifname(1))
	f.register(drained(1, "web"))
	f.wait(func(s Snapshot) bool { return s.Target("target-1").Placed })
	if s := f.Snapshot(); len(s.Stream("web").Targets) != 0 || !s.Target("target-1").Draining {
		t.Errorf("state is %+v", s)
	}
	f.register(weighted(1, 5, "web"))
	f.wantTable("web", 1)
}

func TestBadWeight(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	for _, i := range []int{1, 2} {
		if err := f.Register(t.Context(), weighted(i, 1001, "web")); !errors.Is(err, ErrWeight) {
			t.Errorf("weight 1001: %v", err)
		}
	}
	if s := f.Snapshot(); len(s.Targets) != 1 || s.Targets[0].Weight != 1 {
		t.Errorf("a bad weight left %+v", s.Targets)
	}
}
