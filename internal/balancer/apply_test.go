// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

func (f *fixture) config(config Config) {
	f.t.Helper()
	if err := f.SetConfig(f.t.Context(), config); err != nil {
		f.t.Fatal(err)
	}
}

func TestConfigTouchesOnlyWhatChanged(t *testing.T) {
	f := start(t)
	config := Config{
		VIPs:    []netip.Prefix{prefix("20.0.0.1/32")},
		Streams: []Stream{{Name: "web"}},
		Flows:   []Flow{flow("http", "web", "20.0.0.1/32")},
	}
	f.config(config)
	f.join(1, "web")
	f.wantTable("web", 1)
	rules, writes := f.plane.setRules, f.plane.writes[0]

	f.config(config)
	if f.plane.setRules != rules {
		t.Error("the same configuration wrote the rules again")
	}

	more := config
	more.Streams = []Stream{{Name: "sip"}, {Name: "web", MaxTargets: 3}}
	f.config(more)
	if f.plane.setRules != rules {
		t.Error("a stream without flow wrote the rules again")
	}

	more.Flows = []Flow{flow("sip", "sip", "2000::1/128"), config.Flows[0]}
	f.config(more)
	if f.plane.setRules != rules+1 || f.plane.writes[0] != writes {
		t.Errorf("a flow wrote the rules %d times and %d tables", f.plane.setRules-rules, f.plane.writes[0]-writes)
	}
	ids := map[string]uint32{}
	for _, rule := range f.plane.rules.Flows {
		ids[rule.Name] = rule.Stream
	}
	if s := f.Snapshot(); ids["http"] != s.Stream("web").ID || ids["sip"] != s.Stream("sip").ID || ids["http"] == ids["sip"] {
		t.Errorf("flows lead to %v", ids)
	}

	// Only another size costs a stream its table.
	more.Streams = []Stream{{Name: "sip"}, {Name: "web", TableSize: 257}}
	f.config(more)
	f.wait(func(s Snapshot) bool { return !s.Stream("web").Pending })
	if got := len(f.plane.tables[0]); got != 257 {
		t.Errorf("table has %d slots", got)
	}
}

func TestStreamGoesAndComesBack(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	var told [][]string
	stop := f.Watch(func(streams []string) { told = append(told, streams) })
	f.join(1, "web", "sip")
	f.wantTable("web", 1)
	f.config(Config{Streams: []Stream{{Name: "sip"}}})
	f.wantTable("sip", 1)
	f.wait(func(s Snapshot) bool { return slices.Equal(s.Target("target-1").InTable, []string{"sip"}) })
	f.register(wish(1, "web", "sip")) // a refresh meanwhile is no error
	f.config(Config{Streams: []Stream{{Name: "web"}, {Name: "sip"}}})
	f.wantTable("web", 1)
	stop()
	f.config(Config{})
	f.wait(func(s Snapshot) bool { return len(s.Target("target-1").InTable) == 0 })
	if len(told) != 2 || !slices.Equal(told[0], []string{"web"}) || !slices.Equal(told[1], []string{"web"}) {
		t.Errorf("told of %v", told)
	}
	if len(f.plane.tables) != 0 {
		t.Errorf("%d tables are left", len(f.plane.tables))
	}
}

// A stream that is removed while its table is being written loses it all the same.
func TestStreamGoesMidway(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.plane.set(func() { f.plane.hold, f.plane.calls = make(chan struct{}), make(chan struct{}, 1) })
	f.join(1, "web")
	<-f.plane.calls
	f.config(Config{})
	close(f.plane.hold)
	f.wait(func(s Snapshot) bool { return len(s.Target("target-1").InTable) == 0 })
	f.config(Config{Streams: []Stream{{Name: "sip"}}})
	if err := f.Unregister(t.Context(), "conn-1"); err != nil {
		t.Fatal(err)
	}
	f.plane.set(func() {
		if len(f.plane.tables) != 0 {
			t.Errorf("%d tables are left", len(f.plane.tables))
		}
	})
}

func TestWatchVIPs(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	var told []string
	t.Cleanup(f.Watch(func(streams []string) { told = streams }))
	config := Config{Streams: []Stream{{Name: "web"}, {Name: "sip"}}, Flows: []Flow{flow("http", "web", "20.0.0.1/32")}}
	f.config(config)
	if !slices.Equal(told, []string{"web"}) {
		t.Errorf("told of %v", told)
	}
	told = nil
	config.Flows = []Flow{flow("http", "web", "20.0.0.1/32")}
	config.Flows[0].Rule.Priority = 7
	f.config(config)
	if told != nil {
		t.Errorf("another priority told of %v", told)
	}
}

func TestBadConfigKeepsTheLast(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	before := f.Config()
	err := f.SetConfig(t.Context(), Config{
		Streams: []Stream{{Name: "a", TableSize: 100}, {Name: "a", MaxTargets: -1}, {}},
		Flows:   []Flow{flow("x", "b"), flow("x", "a"), flow("", "a")},
		VIPs:    []netip.Prefix{prefix("20.0.0.1/24"), {}},
		NATs:    []classify.NAT{{VIP: prefix("20.0.0.1/32"), Protocol: classify.TCP, Port: 80}}, Affinity: MaxAffinity + 1,
	})
	for _, part := range []string{
		`table size 100`, `"a" is taken by another stream`, `max-targets -1`, `streams[2].name`,
		`flow "x": unknown stream "b"`, `"x" is taken by another flow`, `flows[2].name`, `vips[0]`, `vips[1]`,
		`nats[0]: target port 0`, `affinity: 16777217 flows are not within 0 to 16777216`,
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
	sizes := Config{Streams: []Stream{{Name: "large", TableSize: 1009}, {Name: "small", TableSize: 89}}}
	for _, part := range []string{
		`stream "large": table size does not fit: 1009 slots, the replica has room for 1004`,
		`stream "small": table size does not fit: 89 slots are too few for 100 targets`,
	} {
		if err := f.SetConfig(t.Context(), sizes); !errors.Is(err, ErrTableSize) || !strings.Contains(err.Error(), part) {
			t.Errorf("error does not say %q: %v", part, err)
		}
	}
	five := Config{Streams: []Stream{{Name: "web"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}}}
	if err := f.SetConfig(t.Context(), five); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("a fifth stream: %v", err)
	}
	f.plane.set(func() { f.plane.fail["SetRules"] = errInjected })
	bad := Config{Streams: []Stream{{Name: "new"}}, Flows: []Flow{flow("x", "new", "20.0.0.1/32")}}
	if err := f.SetConfig(t.Context(), bad); !errors.Is(err, errInjected) {
		t.Errorf("rules that cannot be written: %v", err)
	}
	if f.Config() != before || f.Snapshot().Stream("new").Name != "" {
		t.Error("a bad configuration is in force")
	}
	f.wantTable("web", 1)
	f.plane.set(func() { f.plane.fail["SetRules"] = nil })
	four := Config{Streams: five.Streams[:4]}
	f.wait(func(Snapshot) bool { return f.SetConfig(t.Context(), four) == nil })
}

// TestRulesPassOn: everything that rules are made of reaches the data plane, and
// each of it alone is a reason to write them.
func TestRulesPassOn(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	config := *f.Config()
	vip := prefix("20.0.0.1/32")
	for i, change := range []func(){
		func() { config.VIPs = []netip.Prefix{vip} },
		func() {
			config.NATs = []classify.NAT{{VIP: vip, Protocol: classify.TCP, Port: 80, TargetPort: 8080}}
		},
		func() { config.MSSClamp = true },
		func() { config.Affinity = 1000 },
		func() { config.Flows = []Flow{flow("http", "web", "20.0.0.1/32")} },
	} {
		before := f.plane.setRules
		change()
		f.config(config)
		f.config(config)
		if f.plane.setRules != before+1 {
			t.Errorf("change %d wrote the rules %d times", i, f.plane.setRules-before)
		}
	}
	want := lb.Rules{
		VIPs: config.VIPs, NATs: config.NATs, MSSClamp: true, Affinity: 1000,
		Flows: []classify.Rule{config.Flows[0].Rule},
	}
	if diff := cmp.Diff(want, f.plane.rules, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestFlowNumbers: a flow has a number as long as it is there, and the numbers
// of flows that have gone are the last to be taken.
func TestFlowNumbers(t *testing.T) {
	f := start(t, Stream{Name: "web"}, Stream{Name: "sip"})
	apply := func(names ...string) error {
		config := Config{Streams: []Stream{{Name: "web"}, {Name: "sip"}}}
		for _, name := range names {
			config.Flows = append(config.Flows, flow(name, "web", "20.0.0.1/32"))
		}
		return f.SetConfig(t.Context(), config)
	}
	want := func(err error, flows ...FlowState) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(flows, f.Snapshot().Flows, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("flows (-want +got):\n%s", diff)
		}
		for _, rule := range f.plane.rules.Flows {
			if !slices.ContainsFunc(flows, func(s FlowState) bool { return s.Name == rule.Name && s.ID == rule.Flow }) {
				t.Errorf("rule %s has number %d", rule.Name, rule.Flow)
			}
		}
	}
	want(apply("b", "a"), FlowState{"a", 1, "web"}, FlowState{"b", 0, "web"})
	want(apply("a", "c"), FlowState{"a", 1, "web"}, FlowState{"c", 2, "web"})
	want(apply("a", "c", "b"), FlowState{"a", 1, "web"}, FlowState{"b", 3, "web"}, FlowState{"c", 2, "web"})
	if err := apply("a", "c", "b", "d", "e"); !errors.Is(err, ErrTooManyFlows) || !strings.Contains(err.Error(), `flow "e"`) {
		t.Errorf("a fifth flow: %v", err)
	}
	f.plane.set(func() { f.plane.fail["SetRules"] = errInjected })
	if err := apply("d"); !errors.Is(err, errInjected) {
		t.Errorf("rules that cannot be written: %v", err)
	}
	f.plane.set(func() { f.plane.fail["SetRules"] = nil })
	// What failed took and freed nothing; all flows can be exchanged at once.
	want(apply("a", "c", "b"), FlowState{"a", 1, "web"}, FlowState{"b", 3, "web"}, FlowState{"c", 2, "web"})
	want(apply("w", "x", "y", "z"), FlowState{"w", 0, "web"}, FlowState{"x", 1, "web"}, FlowState{"y", 2, "web"}, FlowState{"z", 3, "web"})
	moved := *f.Config()
	moved.Flows = slices.Clone(moved.Flows[:1])
	moved.Flows[0].Stream = "sip"
	want(f.SetConfig(t.Context(), moved), FlowState{"w", 0, "sip"})
	want(f.SetConfig(t.Context(), Config{}))
}

// TestForget: the counters of a number begin anew with every flow and stream that
// gets it, and with no other change.
func TestForget(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	forgotten := func(want ...string) {
		t.Helper()
		f.plane.set(func() {
			slices.Sort(f.plane.forgotten)
			if !slices.Equal(f.plane.forgotten, want) {
				t.Errorf("forgotten %v, want %v", f.plane.forgotten, want)
			}
			f.plane.forgotten = nil
		})
	}
	apply := func(streams []string, flows ...string) error {
		var config Config
		for _, name := range streams {
			config.Streams = append(config.Streams, Stream{Name: name})
		}
		for _, name := range flows {
			config.Flows = append(config.Flows, flow(name, streams[0], "20.0.0.1/32"))
		}
		return f.SetConfig(t.Context(), config)
	}
	forgotten("ForgetStream 0")
	if err := apply([]string{"web"}, "a", "b"); err != nil {
		t.Fatal(err)
	}
	forgotten("ForgetFlow 0", "ForgetFlow 1")
	if err := apply([]string{"web", "sip"}, "b", "c"); err != nil {
		t.Fatal(err)
	}
	forgotten("ForgetFlow 2", "ForgetStream 1")
	f.plane.set(func() { f.plane.fail["ForgetStream"] = errInjected })
	if err := apply([]string{"web", "sip", "new"}, "b", "d"); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	f.plane.set(func() { f.plane.fail["ForgetStream"] = nil })
	forgotten("ForgetStream 2")
	f.plane.set(func() { f.plane.fail["SetRules"] = errInjected })
	if err := apply([]string{"web", "sip"}, "b", "d"); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	f.plane.set(func() { f.plane.fail["SetRules"] = nil })
	forgotten()
}

func TestStreamVIPs(t *testing.T) {
	c := Config{Flows: []Flow{
		flow("a", "web", "20.0.0.2/32", "2000::1/128"), flow("b", "web", "20.0.0.1/32", "20.0.0.2/32"), flow("c", "sip", "20.0.0.3/32"),
	}}
	want := []netip.Prefix{prefix("20.0.0.1/32"), prefix("20.0.0.2/32"), prefix("2000::1/128")}
	if got := c.StreamVIPs("web", "none"); !slices.Equal(got, want) {
		t.Errorf("VIPs %v, want %v", got, want)
	}
}
