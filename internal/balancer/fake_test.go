// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/slowpath"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// testSize keeps tables small; it is prime.
const testSize = 251

// fakePlane remembers what it was told and checks the order of it: no slot of a
// table may name a target that is not there.
type fakePlane struct {
	t testing.TB

	mu       sync.Mutex
	rules    lb.Rules
	setRules int
	gateways []lb.Gateways  // as they were written
	probes   [][]byte       // frames
	probe    lb.ProbeResult // of each
	tables   map[uint32][]uint16
	writes   map[uint32]int
	targets  map[uint16]lb.Target
	members  map[uint32][]uint16
	placed   int // calls of SetTarget
	attached map[int]bool
	fail     map[string]error // by method
	hold     chan struct{}    // when set, SetTable waits for a value
	attach   chan struct{}    // when set, AttachLeg announces itself and waits, each by a value
	calls    chan struct{}    // when set, gets one for each SetTable that begins

	forgotten []string // calls of ForgetStream and ForgetFlow
}

func newFakePlane(t testing.TB) *fakePlane {
	return &fakePlane{
		t: t, tables: map[uint32][]uint16{}, writes: map[uint32]int{}, targets: map[uint16]lb.Target{},
		members: map[uint32][]uint16{}, attached: map[int]bool{}, fail: map[string]error{},
	}
}

func (p *fakePlane) SetRules(rules lb.Rules) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["SetRules"]; err != nil {
		return err
	}
	p.rules = rules
	p.setRules++
	return nil
}

func (p *fakePlane) SetGateways(g lb.Gateways) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gateways = append(p.gateways, g)
	return p.fail["SetGateways"]
}

func (p *fakePlane) Gateways() lb.Gateways {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.gateways) == 0 {
		return lb.Gateways{}
	}
	return p.gateways[len(p.gateways)-1]
}

func (p *fakePlane) Probe(frame []byte) (lb.ProbeResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probes = append(p.probes, frame)
	return p.probe, p.fail["Probe"]
}

func (p *fakePlane) SetTable(stream uint32, slots []uint16) error {
	p.mu.Lock()
	hold, calls := p.hold, p.calls
	p.mu.Unlock()
	if calls != nil {
		calls <- struct{}{}
	}
	if hold != nil {
		<-hold
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["SetTable"]; err != nil {
		return err
	}
	for _, id := range slots {
		if _, ok := p.targets[id]; !ok {
			p.t.Errorf("table of stream %d names target %d, which is not there", stream, id)
			break
		}
	}
	p.tables[stream] = slices.Clone(slots)
	p.writes[stream]++
	return nil
}

func (p *fakePlane) ClearTable(stream uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.tables, stream)
	return p.fail["ClearTable"]
}

func (p *fakePlane) SetTarget(id uint16, target lb.Target) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets[id] = target
	p.placed++
	return p.fail["SetTarget"]
}

func (p *fakePlane) SetMembers(stream uint32, targets []uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["SetMembers"]; err != nil {
		return err
	}
	p.members[stream] = slices.Sorted(slices.Values(targets))
	return nil
}

func (p *fakePlane) ForgetStream(stream uint32) error { return p.forget("ForgetStream", stream) }

func (p *fakePlane) ForgetFlow(flow uint32) error { return p.forget("ForgetFlow", flow) }

func (p *fakePlane) forget(what string, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten = append(p.forgotten, fmt.Sprintf("%s %d", what, id))
	return p.fail[what]
}

func (p *fakePlane) DeleteTarget(id uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream, table := range p.tables {
		if slices.Contains(table, id) {
			p.t.Errorf("target %d is dropped while the table of stream %d has it", id, stream)
		}
	}
	delete(p.targets, id)
	return p.fail["DeleteTarget"]
}

type program func() error

func (p program) Close() error { return p() }

func (p *fakePlane) AttachLeg(ifindex int) (io.Closer, error) {
	p.mu.Lock()
	attach := p.attach
	p.mu.Unlock()
	if attach != nil {
		attach <- struct{}{}
		<-attach
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["AttachLeg"]; err != nil {
		return nil, err
	}
	if p.attached[ifindex] {
		p.t.Errorf("link %d has the reply program twice", ifindex)
	}
	p.attached[ifindex] = true
	return program(func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.attached[ifindex] {
			p.t.Errorf("the reply program of link %d is closed twice", ifindex)
		}
		delete(p.attached, ifindex)
		return nil
	}), nil
}

func (p *fakePlane) Counters() (map[lb.Reason]uint64, error) {
	return map[lb.Reason]uint64{lb.Forwarded: 4, lb.DropNoFlow: 5}, p.fail["Counters"]
}

func (p *fakePlane) FlowTraffic(flow uint32) (lb.Traffic, error) {
	return lb.Traffic{Packets: 3, Bytes: 300 + uint64(flow)}, p.fail["FlowTraffic"]
}

func (p *fakePlane) StreamTraffic(stream uint32) (lb.Traffic, error) {
	return lb.Traffic{Packets: 2, Bytes: 200 + uint64(stream)}, p.fail["StreamTraffic"]
}

func (p *fakePlane) TargetTraffic(id uint16) (lb.Traffic, error) {
	return lb.Traffic{Packets: uint64(id), Bytes: 100 * uint64(id)}, p.fail["TargetTraffic"]
}

func (p *fakePlane) SlowPath() lb.SlowPathCounters {
	return lb.SlowPathCounters{Counters: slowpath.Counters{Cut: 6, Held: 7}}
}

func (p *fakePlane) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// table returns the names of the targets that a stream's table has.
func (p *fakePlane) table(b *Balancer, name string) []string {
	snapshot := b.Snapshot()
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := slices.Compact(slices.Sorted(slices.Values(p.tables[snapshot.Stream(name).ID])))
	var names []string
	for _, id := range ids {
		for _, t := range snapshot.Targets {
			if t.ID == id {
				names = append(names, t.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// fakeLinks are links that the test adds and removes. A link gets carrier when
// it is set up. Events come one at a time and tell the state of then.
type fakeLinks struct {
	fn func(nl.LinkEvent)

	events sync.Mutex // held over an event
	mu     sync.Mutex
	links  map[int]nl.Link
	fail   error
}

func (f *fakeLinks) Watch(_ context.Context, fn func(nl.LinkEvent)) error {
	f.fn, f.links = fn, map[int]nl.Link{}
	return nil
}

func (f *fakeLinks) SetUp(index int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	link, ok := f.links[index]
	if f.fail != nil || !ok {
		return errors.Join(f.fail, nl.ErrNotFound)
	}
	link.Up, link.Carrier = true, true
	f.links[index] = link
	go f.event(index, func(nl.Link) nl.LinkEvent { return nl.LinkEvent{Link: f.links[index], Gone: f.links[index].Index == 0} })
	return nil
}

func (f *fakeLinks) SetDown(index int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	link, ok := f.links[index]
	if !ok {
		return nl.ErrNotFound
	}
	link.Up, link.Carrier = false, false
	f.links[index] = link
	return f.fail
}

// event changes the links and reports it.
func (f *fakeLinks) event(index int, change func(nl.Link) nl.LinkEvent) {
	f.events.Lock()
	defer f.events.Unlock()
	f.mu.Lock()
	event := change(f.links[index])
	event.Link.Index = index
	if event.Gone {
		delete(f.links, index)
	} else {
		f.links[index] = event.Link
	}
	f.mu.Unlock()
	f.fn(event)
}

func (f *fakeLinks) add(index int, name string) {
	f.event(index, func(nl.Link) nl.LinkEvent { return nl.LinkEvent{Link: nl.Link{Name: name, Kind: "veth"}} })
}

func (f *fakeLinks) carrier(index int, carrier bool) {
	f.event(index, func(link nl.Link) nl.LinkEvent {
		link.Carrier = carrier
		return nl.LinkEvent{Link: link}
	})
}

func (f *fakeLinks) remove(index int) {
	f.event(index, func(link nl.Link) nl.LinkEvent { return nl.LinkEvent{Link: link, Gone: true} })
}

type fixture struct {
	*Balancer
	t     testing.TB
	plane *fakePlane
	links *fakeLinks
}

func start(t testing.TB, streams ...Stream) *fixture {
	t.Helper()
	opt := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, opt) })
	f := &fixture{t: t, plane: newFakePlane(t), links: &fakeLinks{}}
	var err error
	limits := Limits{Streams: 4, Targets: 200, Flows: 4, TableSize: testSize, MaxTableSize: 4 * testSize}
	f.Balancer, err = New(f.plane, f.links, limits, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := f.SetConfig(t.Context(), Config{Streams: streams}); err != nil {
		t.Fatal(err)
	}
	return f
}

func ifname(i int) string { return fmt.Sprintf("leg-%d", i) }

func wish(i int, streams ...string) Target {
	return Target{
		Name: fmt.Sprintf("target-%d", i), Connection: fmt.Sprintf("conn-%d", i), Interface: ifname(i),
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}, LegMAC: net.HardwareAddr{6, 0, 0, 0, 0, byte(i)},
		Streams: streams,
	}
}

func (f *fixture) register(target Target) {
	f.t.Helper()
	if err := f.Register(f.t.Context(), target); err != nil {
		f.t.Fatalf("register %s: %v", target.Name, err)
	}
}

// join registers target i and brings its link.
func (f *fixture) join(i int, streams ...string) {
	f.t.Helper()
	f.register(wish(i, streams...))
	f.links.add(100+i, ifname(i))
}

// wantTable waits for the table of a stream to have exactly the targets.
func (f *fixture) wantTable(name string, targets ...int) {
	f.t.Helper()
	var want []string
	for _, i := range targets {
		want = append(want, fmt.Sprintf("target-%d", i))
	}
	slices.Sort(want)
	f.wait(func(s Snapshot) bool {
		return !s.Stream(name).Pending && slices.Equal(s.Stream(name).Targets, want)
	})
	if got := f.plane.table(f.Balancer, name); !slices.Equal(got, want) {
		f.t.Fatalf("table of %s has %v, want %v", name, got, want)
	}
}

// wantPrograms waits for the reply program to be on exactly these links.
func (f *fixture) wantPrograms(links ...int) {
	f.t.Helper()
	testutil.Eventually(f.t, 10*time.Second, fmt.Sprintf("reply programs on %v", links), func() (same bool) {
		f.plane.set(func() { same = slices.Equal(slices.Sorted(maps.Keys(f.plane.attached)), links) })
		return same
	})
}

func (f *fixture) wait(cond func(Snapshot) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	defer cancel()
	if err := f.Wait(ctx, cond); err != nil {
		f.t.Fatalf("state stays %+v: %v", f.Snapshot(), err)
	}
}
