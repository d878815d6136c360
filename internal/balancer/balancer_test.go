// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/maglev"
)

var errInjected = errors.New("injected")

func TestJoinAndLeave(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	f.join(2, "web")
	f.wantTable("web", 1, 2)

	// A refresh changes nothing.
	writes := f.plane.writes[0]
	f.register(wish(1, "web", "web"))
	f.wantTable("web", 1, 2)
	if f.plane.writes[0] != writes {
		t.Errorf("a refresh wrote %d tables", f.plane.writes[0]-writes)
	}

	// Removal is done when Unregister returns, and may be repeated.
	for range 2 {
		if err := f.Unregister(t.Context(), "conn-1"); err != nil {
			t.Fatal(err)
		}
		if got := f.plane.table(f.Balancer, "web"); !slices.Equal(got, []string{"target-2"}) {
			t.Fatalf("after Unregister the table has %v", got)
		}
	}
	f.wait(func(s Snapshot) bool { return len(s.Targets) == 1 })
	if err := f.Unregister(t.Context(), "conn-2"); err != nil {
		t.Fatal(err)
	}
	f.wait(func(s Snapshot) bool { return len(s.Targets) == 0 })
	if len(f.plane.targets) != 0 || len(f.plane.tables) != 0 {
		t.Errorf("left over: targets %v, %d tables", f.plane.targets, len(f.plane.tables))
	}
}

func TestLinkBeforeRegistration(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.links.add(101, ifname(1))
	if len(f.plane.attached) != 0 {
		t.Fatal("a link nobody registered got the reply program")
	}
	f.register(wish(1, "web"))
	f.wantTable("web", 1)
}

func TestCarrier(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	f.join(1, "web", "sip")
	f.join(2, "web")
	f.wantTable("web", 1, 2)
	f.wantTable("sip", 1)
	f.links.carrier(101, false)
	f.wantTable("web", 2)
	f.wantTable("sip")
	f.wait(func(s Snapshot) bool { return len(s.Target("target-1").InTable) == 0 })
	f.links.carrier(101, true)
	f.wantTable("web", 1, 2)
	f.wantTable("sip", 1)
	if !f.plane.attached[101] {
		t.Error("losing carrier cost the reply program")
	}
}

func TestStreamsChangeInPlace(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	f.join(1, "web")
	f.join(2, "web")
	f.wantTable("web", 1, 2)
	f.register(wish(1, "sip", "web"))
	if got := f.plane.table(f.Balancer, "sip"); !slices.Equal(got, []string{"target-1"}) {
		t.Errorf("after joining, sip has %v", got)
	}
	f.register(wish(1, "sip"))
	if got := f.plane.table(f.Balancer, "web"); !slices.Equal(got, []string{"target-2"}) {
		t.Errorf("after leaving, web has %v", got)
	}
	f.register(wish(1))
	f.wantTable("sip")
	if s := f.Snapshot().Target("target-1"); s.Name == "" || !s.Legs[0].Up {
		t.Errorf("a target without streams is %+v", s)
	}
}

// TestHold: a live target that joins a stream gets its traffic when it is ready,
// or when the limit has passed; what it has joined already is not taken from it.
func TestHold(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"}, Stream{Name: "dns"})
	f.join(1, "web")
	f.wantTable("web", 1)
	more := wish(1, "web", "sip")
	more.Hold = more.Streams
	f.register(more)
	if s := f.Snapshot(); !slices.Equal(s.Target("target-1").Held, []string{"sip"}) || len(s.Stream("sip").Targets) != 0 {
		t.Errorf("held %v, in sip's table %v", s.Target("target-1").Held, s.Stream("sip").Targets)
	}
	f.wantTable("web", 1)
	f.register(wish(1, "web", "sip"))
	if got := f.plane.table(f.Balancer, "sip"); !slices.Equal(got, []string{"target-1"}) {
		t.Errorf("ready, but sip has %v", got)
	}
	more = wish(1, "web", "sip", "dns")
	more.Hold = []string{"dns"}
	f.register(more)
	f.wantTable("dns", 1) // by itself
	f.register(more)
	f.wantTable("dns", 1)
}

func TestRefusals(t *testing.T) {
	f := start(t, Stream{Name: "web", MaxTargets: 1}, Stream{Name: "sip"})
	f.join(1, "web")
	f.wantTable("web", 1)
	var unknown *UnknownStreamError
	var full *MaxTargetsError
	if err := f.Register(t.Context(), wish(2, "sip", "nope")); !errors.As(err, &unknown) || unknown.Stream != "nope" {
		t.Errorf("unknown stream: %v", err)
	}
	if err := f.Register(t.Context(), wish(2, "sip", "web")); !errors.As(err, &full) || full.Stream != "web" || full.Max != 1 {
		t.Errorf("max-targets: %v", err)
	}
	taken := wish(2, "sip")
	taken.Interface = ifname(1)
	if err := f.Register(t.Context(), taken); !errors.Is(err, ErrInterfaceTaken) {
		t.Errorf("taken interface: %v", err)
	}
	if s := f.Snapshot(); len(s.Targets) != 1 {
		t.Errorf("a refused registration left %+v", s.Targets)
	}
	// A refused change leaves the registration as it was.
	if err := f.Register(t.Context(), wish(1, "web", "nope")); !errors.As(err, &unknown) {
		t.Errorf("unknown stream on a change: %v", err)
	}
	f.wantTable("web", 1)
	if err := f.Unregister(t.Context(), "conn-1"); err != nil {
		t.Fatal(err)
	}
	f.register(wish(2, "web"))
}

func TestNoRoomForTargets(t *testing.T) {
	f := start(t, Stream{Name: "web", MaxTargets: 1000})
	for i := range 199 {
		target := wish(i, "web")
		f.register(target)
	}
	if err := f.Register(t.Context(), wish(199, "web")); !errors.Is(err, ErrTooManyTargets) {
		t.Errorf("200th target: %v", err)
	}
	if err := f.Unregister(t.Context(), "conn-7"); err != nil {
		t.Fatal(err)
	}
	f.wait(func(s Snapshot) bool { return len(s.Targets) == 198 })
	f.register(wish(199, "web"))
}

// TestNewConnectionOfTarget: a target that comes back by a new connection keeps
// its slots, and the old connection's end takes nothing from it.
func TestNewConnectionOfTarget(t *testing.T) {
	f := start(t, Stream{Name: "web", MaxTargets: 1})
	f.join(1, "web")
	f.wantTable("web", 1)
	writes := f.plane.writes[0]
	again := wish(1, "web")
	again.Connection, again.Interface = "conn-new", "leg-new"
	f.register(again)
	id := f.Snapshot().Target("target-1").ID
	f.plane.set(func() {
		if f.plane.targets[id].IfIndex != 101 {
			t.Errorf("the target left its working leg for one without link: %+v", f.plane.targets[id])
		}
	})
	f.links.add(201, "leg-new")
	f.wait(func(s Snapshot) bool {
		legs := s.Target("target-1").Legs
		return len(legs) == 2 && legs[1].Active && !s.Stream("web").Pending
	})
	if err := f.Unregister(t.Context(), "conn-1"); err != nil {
		t.Fatal(err)
	}
	f.wantTable("web", 1)
	f.plane.set(func() {
		if f.plane.targets[id].IfIndex != 201 || f.plane.writes[0] != writes {
			t.Errorf("target at %+v after %d more tables", f.plane.targets[id], f.plane.writes[0]-writes)
		}
	})
}

// TestJoinsShareTables: joins that arrive while a table is being written are
// all in the next one, and a removal among them is not kept waiting behind them.
func TestJoinsShareTables(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	f.join(1, "sip")
	f.wantTable("sip", 1)
	f.plane.set(func() { f.plane.hold, f.plane.calls = make(chan struct{}), make(chan struct{}, 100) })
	f.join(2, "web")
	<-f.plane.calls // the table with target 2 is being written
	var all []int
	for i := 2; i < 52; i++ {
		if i > 2 {
			f.join(i, "web")
		}
		all = append(all, i)
	}
	f.join(60, "sip")
	f.wait(func(s Snapshot) bool {
		return !slices.ContainsFunc(s.Targets, func(t TargetState) bool { return !t.Legs[0].Up })
	})
	left := make(chan error, 1)
	go func() { left <- f.Unregister(context.Background(), "conn-1") }()
	f.wait(func(s Snapshot) bool { return len(s.Target("target-1").Legs) == 0 })
	f.plane.hold <- struct{}{} // web with 2
	f.plane.hold <- struct{}{} // sip without 1: before web, though later
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	close(f.plane.hold) // web with all
	f.wantTable("web", all...)
	if f.plane.writes[0] != 2 {
		t.Errorf("50 joins took %d tables, want 2", f.plane.writes[0])
	}
}

func TestTableFailure(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.join(2, "web")
	f.wantTable("web", 1, 2)
	f.plane.set(func() { f.plane.fail["SetTable"] = errInjected })
	if err := f.Unregister(t.Context(), "conn-1"); !errors.Is(err, errInjected) {
		t.Errorf("Unregister: %v", err)
	}
	f.wait(func(s Snapshot) bool { return s.Stream("web").Error != "" && len(s.Target("target-1").InTable) == 1 })
	f.plane.set(func() { f.plane.fail["SetTable"] = nil })
	f.wantTable("web", 2) // by itself
	f.wait(func(s Snapshot) bool { return len(s.Targets) == 1 })
}

func TestLegFailure(t *testing.T) {
	for _, method := range []string{"AttachLeg", "SetUp", "SetTarget"} {
		t.Run(method, func(t *testing.T) {
			f := start(t, Stream{Name: "web"})
			f.plane.fail[method] = errInjected
			if method == "SetUp" {
				f.links.fail = errInjected
			}
			f.join(1, "web")
			f.wait(func(s Snapshot) bool {
				return s.Stream("web").Error != "" || s.Target("target-1").Legs[0].Error != ""
			})
			f.plane.set(func() { delete(f.plane.fail, method) })
			f.links.mu.Lock()
			f.links.fail = nil
			f.links.mu.Unlock()
			f.wantTable("web", 1)
		})
	}
}

func TestCloseMidway(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	f.join(2, "web")
	f.Close()
	if err := f.Register(t.Context(), wish(3, "web")); !errors.Is(err, ErrClosed) {
		t.Errorf("Register after Close: %v", err)
	}
	if len(f.plane.attached) != 0 || f.links.links[101].Up {
		t.Errorf("programs stay on %v, the leg is %+v", f.plane.attached, f.links.links[101])
	}
	f.links.add(300, "late")
}

func TestLimits(t *testing.T) {
	for _, limits := range []Limits{
		{}, {Streams: 1, Targets: 1}, {Streams: 1, Targets: maglev.MaxBackends + 2}, {Streams: 1, Targets: 2, TableSize: 4},
		{Streams: 1, Targets: 2, Flows: -1}, {Streams: 1, Targets: 2, TableSize: 7, MaxTableSize: 5},
	} {
		if _, err := New(newFakePlane(t), &fakeLinks{}, limits, nil); err == nil {
			t.Errorf("New accepts %+v", limits)
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func flow(name, stream string, vips ...string) Flow {
	f := Flow{Stream: stream, Rule: classify.Rule{Name: name}}
	for _, vip := range vips {
		f.Rule.VIPs = append(f.Rule.VIPs, prefix(vip))
	}
	return f
}
