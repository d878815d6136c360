// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// restart ends the Stitcher as kill -9 does, and starts another one.
func (n *node) restart(t *testing.T) {
	t.Helper()
	n.kill(t)
	n.start(t)
}

func (n *node) kill(t *testing.T) {
	t.Helper()
	if err := n.Close(true); err != nil {
		t.Fatal(err)
	}
}

func (n *node) start(t *testing.T) {
	t.Helper()
	opts := n.opts
	opts.hook = nil
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
	})
	n.Stitcher = s
}

func pinned(t *testing.T) Options {
	t.Helper()
	return Options{PinDir: testutil.PinDir(t), Grace: time.Hour, Logger: slog.New(slog.DiscardHandler)}
}

func TestAdopt(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0), n.leg(1))
	before, active := n.state(t), n.active(t)
	n.restart(t)
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Fatalf("a restart changes: %s", diff)
	}
	if got := n.active(t); !cmp.Equal(got, active) {
		t.Fatalf("active legs %v, want %v", got, active)
	}
	for _, l := range n.port(t).Legs {
		if !l.Adopted {
			t.Errorf("leg %s is not adopted", l.ID)
		}
	}
	for i := range 2 { // after the first, the other one's wishes are not known yet
		n.connect(t, n.leg(i))
		if diff := cmp.Diff(before, n.state(t)); diff != "" {
			t.Fatalf("claiming leg %d changes: %s", i, diff)
		}
	}
	for _, l := range n.port(t).Legs {
		if l.Adopted {
			t.Errorf("leg %s is not claimed", l.ID)
		}
	}
	if err := n.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Fatalf("collecting what is claimed changes: %s", diff)
	}
}

// Claimed and changed, an adopted leg loses what it does not want any more.
func TestAdoptedLegChanges(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(1))
	want := n.state(t)
	more := n.leg(1)
	more.Client.Addresses = append(more.Client.Addresses, prefix("20.0.0.9/32"))
	more.Client.Policies = append(more.Client.Policies, Policy{From: prefix("20.0.0.9/32"), Routes: []Route{{Prefix: default4, Gateway: gateway4}}})
	more.Client.Routes = append(more.Client.Routes, Route{Prefix: prefix("10.9.0.0/16")})
	more.Client.Neighbours = append(more.Client.Neighbours, Neighbour{netip.MustParseAddr("10.9.0.1"), workloadMAC})
	n.connect(t, more, n.leg(0))
	n.restart(t)
	n.connect(t, n.leg(1))
	n.disconnect(t, "leg-0") // not claimed, but known by its alias
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("left or lost: %s", diff)
	}
}

// A leg can go while another one of its interface is not claimed yet: the routes
// that are kept for that one have lost the address that they came from.
func TestDisconnectAmongAdopted(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0))
	want := n.state(t)
	n.connect(t, n.leg(1))
	n.restart(t)
	n.connect(t, n.leg(1))
	if vacated, err := n.Vacate(t.Context(), "leg-1"); err != nil || !vacated {
		t.Fatal(vacated, err)
	}
	n.disconnect(t, "leg-1")
	n.connect(t, n.leg(0))
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("left or lost: %s", diff)
	}
}

// The endpoint's interface of a leg whose client had died before the forwarder
// came back is in no port; closing the leg removes it all the same.
func TestDisconnectWithoutPort(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0))
	n.kill(t)
	host, err := nl.Open(n.opts.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = host.Close() }()
	count := func(prefix string) (found []int) {
		links, err := host.Links()
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if strings.HasPrefix(link.Alias, prefix) {
				found = append(found, link.Index)
			}
		}
		return found
	}
	if err := host.DeleteLinks(count(clientAlias)...); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	if left := count(endpointAlias); len(left) != 1 {
		t.Fatalf("interfaces %v before", left)
	}
	n.disconnect(t, "leg-1")
	if left := count(endpointAlias); len(left) != 1 {
		t.Fatalf("closing another leg leaves %v", left)
	}
	n.disconnect(t, "leg-0")
	if left := count(endpointAlias); len(left) != 0 {
		t.Errorf("closing the leg leaves %v", left)
	}
}

// What nobody claims goes after the grace period, and nothing else.
func TestCollect(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	opts := pinned(t)
	n := newNode(t, opts)
	empty := n.state(t)
	n.connect(t, n.leg(0))
	want := n.state(t)
	n.connect(t, n.leg(1))
	n.restart(t)
	n.connect(t, n.leg(0))
	if err := n.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("left or lost: %s", diff)
	}
	n.kill(t)
	n.opts.Grace = time.Millisecond
	n.start(t)
	testutil.Eventually(t, limit, "nothing is left", func() bool { return cmp.Equal(empty, n.state(t)) })
}

// An adopted leg follows its links before anybody claims it.
func TestAdoptedLegsFollowTheirLinks(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0), n.leg(1))
	n.restart(t)
	set(t, n.endpoints[0], "leg-a", false)
	n.becomes(t, "the leg is out of use", "leg-1")
	set(t, n.endpoints[0], "leg-a", true)
	n.becomes(t, "the leg is back", "leg-0", "leg-1")
	set(t, n.workload, "nsm-1", false)
	testutil.Eventually(t, limit, "the endpoints see the loss", n.noCarrier(t, 1))
	n.connect(t, n.leg(0), n.leg(1))
	set(t, n.workload, "nsm-1", true)
	testutil.Eventually(t, limit, "the endpoints see carrier", n.carrier(t, 1))
}

// Traffic goes on while there is no process, while the next one starts, and
// while it claims.
func TestRestartLosesNothing(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	n.connect(t, n.leg(0), n.leg(1))
	streams := []*stream{
		newStream(t, n.endpoints[0], n.workload, netip.AddrPortFrom(vip4.Addr(), 0)),
		newStream(t, n.endpoints[1], n.workload, netip.AddrPortFrom(vip6.Addr(), 0)),
		newStream(t, n.workload, n.endpoints[0], netip.MustParseAddrPort("172.16.0.1:0")),
	}
	for range 5 {
		n.restart(t)
		n.connect(t, n.leg(1), n.leg(0))
	}
	for _, s := range streams {
		s.finish(t)
	}
}

// crash ends a call at a step: nothing is taken back.
type crash struct {
	nth, steps int
	at         string // the step
	s          *Stitcher
}

func (c *crash) hook(step string) error {
	if c.steps++; c.steps == c.nth {
		c.at = step
		c.s.mu.Lock()
		c.s.closed = true // the dead do not follow events
		c.s.mu.Unlock()
		panic(c)
	}
	return nil
}

// run tells whether the call got to the nth step.
func (c *crash) run(nth int, call func() error) (crashed bool, err error) {
	c.nth, c.steps = nth, 0
	defer func() {
		if reason := recover(); reason != nil {
			if crashed = reason == c; !crashed {
				panic(reason)
			}
		}
	}()
	return false, call()
}

// A process may end at every step of every change. Its successor brings the legs
// to what is wanted all the same; and never has a connection two interfaces, nor
// an address two.
func TestCrashAtEveryStep(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	for name, change := range map[string]func(n *node) error{
		"connect": func(n *node) error { return n.Connect(context.Background(), n.leg(0)) },
		"second":  func(n *node) error { return n.Connect(context.Background(), n.leg(1)) },
		"change": func(n *node) error {
			l := n.leg(0)
			l.Client.Addresses[0], l.Client.MTU, l.Endpoint.MTU = prefix("172.16.0.77/32"), 1400, 1400
			l.Client.Policies = l.Client.Policies[:1]
			return n.Connect(context.Background(), l)
		},
		"move": func(n *node) error {
			l := n.leg(0)
			l.Endpoint.Interface = "leg-b"
			return n.Connect(context.Background(), l)
		},
		"disconnect": func(n *node) error { return n.Disconnect(context.Background(), "leg-0") },
	} {
		t.Run(name, func(t *testing.T) {
			for nth := 1; crashAt(t, name, nth, change); nth++ {
			}
		})
	}
}

// crashAt tells whether the change has that many steps.
func crashAt(t *testing.T, name string, nth int, change func(n *node) error) bool {
	c := &crash{}
	opts := pinned(t)
	opts.hook = c.hook
	n := newNode(t, opts)
	switch name {
	case "connect":
	default:
		n.connect(t, n.leg(0))
	}
	before := n.state(t)
	c.s = n.Stitcher
	crashed, err := c.run(nth, func() error { return change(n) })
	if err != nil {
		t.Fatalf("step %d: %v", nth, err)
	}
	n.mu.Lock()
	n.closed = false
	n.mu.Unlock()
	n.kill(t)
	n.start(t)
	n.alone(t, nth)
	switch name {
	case "disconnect":
		n.disconnect(t, "leg-0")
		n.connect(t, n.leg(0))
	default:
		n.disconnect(t, "leg-1")
		n.connect(t, n.leg(0))
	}
	n.alone(t, nth)
	if err := n.Collect(t.Context()); err != nil {
		t.Fatalf("step %d: %v", nth, err)
	}
	if name != "connect" {
		if diff := cmp.Diff(anyIndex(before), anyIndex(n.state(t))); diff != "" {
			t.Fatalf("crash at step %d (%s) is not mended: %s", nth, c.at, diff)
		}
	}
	n.disconnect(t, "leg-0")
	for what := range n.state(t) {
		if !strings.HasSuffix(what, " lo") && !strings.Contains(what, " lo address ") {
			t.Errorf("step %d: left: %s", nth, what)
		}
	}
	n.kill(t)
	return crashed
}

// alone checks that no connection has two interfaces and no address is on two.
func (n *node) alone(t *testing.T, step int) {
	t.Helper()
	aliases := map[string]int{}
	for _, link := range testutil.Links(t, n.host) {
		if link.Alias != "" {
			aliases[link.Alias]++
		}
	}
	for alias, count := range aliases {
		if count > 1 {
			t.Errorf("step %d: %d interfaces of %s", step, count, alias)
		}
	}
	owners, err := testutil.Handle(t, n.workload).AddressOwners()
	if err != nil {
		t.Fatal(err)
	}
	for address, of := range owners {
		if len(of) > 1 {
			t.Errorf("step %d: %s is on %d interfaces", step, address, len(of))
		}
	}
}

// anyIndex is a state without what a new interface has anew.
func anyIndex(state map[string]string) []string {
	var names []string
	for name := range maps.Keys(state) {
		if !strings.Contains(name, "route") && !strings.Contains(name, "rule") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// The kernel takes addresses away when their lease ends.
func TestLease(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, pinned(t))
	l := n.leg(1)
	l.Client.Until = time.Now().Add(2 * time.Second)
	n.connect(t, l)
	has := func(a netip.Prefix) bool {
		h := testutil.Handle(t, n.workload)
		addresses, err := h.Addresses(testutil.Link(t, n.workload, "nsm-1").Index)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(addresses, a)
	}
	own4, own6 := l.Client.Addresses[0], l.Client.Addresses[1]
	if !has(own4) || !has(own6) {
		t.Fatal("the leg's addresses are not there")
	}
	n.restart(t) // nobody is left to take them away
	n.kill(t)
	testutil.Eventually(t, limit, "the addresses are gone", func() bool { return !has(own4) && !has(own6) })
	if !has(vip4) || !has(vip6) {
		t.Error("the VIPs are gone, too")
	}
	n.start(t)
	l.Client.Until = time.Now().Add(time.Hour)
	n.connect(t, l)
	if !has(own4) || !has(own6) {
		t.Error("the renewed lease has no addresses")
	}
	for range 2 {
		if vacated, err := n.Vacate(t.Context(), l.ID); err != nil || !vacated {
			t.Fatal(vacated, err)
		}
		if has(own4) || has(own6) || !has(vip4) || !has(vip6) {
			t.Error("vacating leaves the leg's addresses, or takes VIPs")
		}
	}
	if vacated, err := n.Vacate(t.Context(), "unknown"); err != nil || vacated {
		t.Error("an unknown leg has vacated its addresses", vacated, err)
	}
	s := newStream(t, n.endpoints[1], n.workload, netip.AddrPortFrom(vip4.Addr(), 0))
	n.connect(t, l)
	if !has(own4) {
		t.Error("a leg that is back has no address")
	}
	s.finish(t)
}
