// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

var errInjected = errors.New("injected")

// injector fails the nth step from now on; 0 fails none.
type injector struct {
	nth, steps int
	failed     string
}

func (i *injector) hook(step string) error {
	i.steps++
	if i.steps == i.nth {
		i.failed = step
		return errInjected
	}
	return nil
}

func (i *injector) arm(nth int) { *i = injector{nth: nth} }

// everyStep runs call once for every step that it makes, failing that step.
// The state before and after each failure must be the same.
func everyStep(t *testing.T, n *node, i *injector, call func() error) {
	t.Helper()
	before, status := n.state(t), n.snapshot(t)
	for nth := 1; ; nth++ {
		i.arm(nth)
		err := call()
		if i.failed == "" {
			i.arm(0)
			if err != nil {
				t.Fatalf("without a failure: %v", err)
			}
			if nth == 1 {
				t.Error("the call makes no step")
			}
			return
		}
		failed := i.failed
		i.arm(0)
		if !errors.Is(err, errInjected) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("step %d (%s): %v, want only the injected error", nth, failed, err)
		}
		if diff := cmp.Diff(before, n.state(t)); diff != "" {
			t.Fatalf("step %d (%s) is not undone: %s", nth, failed, diff)
		}
		if diff := cmp.Diff(status, n.snapshot(t), cmp.AllowUnexported()); diff != "" {
			t.Fatalf("step %d (%s) is not undone: %s", nth, failed, diff)
		}
	}
}

func (n *node) snapshot(t *testing.T) []PortStatus {
	t.Helper()
	all, err := n.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFailedConnectIsUndone(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	i := &injector{}
	n := newNode(t, Options{hook: i.hook})
	connect := func(l Leg) func() error {
		return func() error { return n.Connect(context.Background(), l) }
	}
	everyStep(t, n, i, connect(n.leg(0)))
	everyStep(t, n, i, connect(n.leg(1)))
	n.exchangeOwn(t, 0)
	n.exchangeOwn(t, 1)

	changed := n.leg(0)
	changed.Client.Addresses = []netip.Prefix{prefix("172.16.0.11/32"), prefix("20.0.0.3/32"), vip6}
	changed.Client.Policies = []Policy{
		{From: prefix("20.0.0.3/32"), Routes: []Route{{Prefix: default4, Gateway: gateway4}}},
		{From: vip6, Routes: []Route{{Prefix: default6, Gateway: netip.MustParseAddr("fe80::2")}}},
	}
	changed.Client.Neighbours = []Neighbour{{gateway4, net.HardwareAddr{2, 0, 0, 0, 0, 5}}}
	changed.Client.Routes = nil
	changed.Client.MTU, changed.Endpoint.MTU = 1400, 1400
	changed.Endpoint.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	everyStep(t, n, i, connect(changed))

	moved := changed
	moved.Endpoint.Interface = "leg-b"
	everyStep(t, n, i, connect(moved))
	if links := n.state(t); links["endpoint 0 leg-a"] != "" || links["endpoint 0 leg-b"] == "" {
		t.Error("the endpoint's interface has not been replaced")
	}
}

// A failed Disconnect leaves a leg that can be disconnected again.
func TestFailedDisconnectCanBeRepeated(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	i := &injector{}
	n := newNode(t, Options{hook: i.hook})
	before := n.state(t)
	for nth := 1; ; nth++ {
		n.connect(t, n.leg(0), n.leg(1))
		failed := 0
		for _, id := range []string{"leg-0", "leg-1"} {
			i.arm(nth)
			err := n.Disconnect(context.Background(), id)
			if i.failed != "" {
				failed++
				if !errors.Is(err, errInjected) {
					t.Errorf("step %d (%s): %v", nth, i.failed, err)
				}
			}
			i.arm(0)
			n.disconnect(t, id)
		}
		if diff := cmp.Diff(before, n.state(t)); diff != "" {
			t.Fatalf("after a failure of step %d: %s", nth, diff)
		}
		if failed == 0 {
			return
		}
	}
}

func TestWithdraw(t *testing.T) {
	i := &injector{}
	n := newNode(t, Options{hook: i.hook})
	ctx := context.Background()
	n.connect(t, n.leg(0), n.leg(1))
	i.arm(1)
	if err := n.Withdraw(ctx, "leg-0"); !errors.Is(err, errInjected) {
		t.Errorf("%v, want the injected error", err)
	}
	i.arm(0)
	if diff := cmp.Diff([]string{"leg-0", "leg-1"}, n.active(t)); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := n.Withdraw(ctx, "leg-0"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"leg-1"}, n.active(t)); diff != "" {
			t.Error(diff)
		}
	}
	n.exchangeVIP(t, 1)
	n.connect(t, n.leg(0))
	if diff := cmp.Diff([]string{"leg-0", "leg-1"}, n.active(t)); diff != "" {
		t.Error(diff)
	}
	if err := n.Withdraw(ctx, "never"); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	h := testutil.Handle(t, n.workload)
	other, _, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.AddAddress(other.Index, prefix("192.0.2.1/24")); err != nil {
		t.Fatal(err)
	}
	before, status := n.state(t), n.snapshot(t)
	for _, c := range []struct {
		name   string
		change func(l *Leg)
		want   error
		text   string
	}{
		{"client name of 16 bytes", func(l *Leg) { l.Client.Interface = "0123456789abcdef" }, ErrBadInterfaceName, `client: "0123456789abcdef" has 16 bytes`},
		{"endpoint name with a slash", func(l *Leg) { l.Endpoint.Interface = "a/b" }, ErrBadInterfaceName, `endpoint: "a/b"`},
		{"empty name", func(l *Leg) { l.Client.Interface = "" }, ErrBadInterfaceName, `client: ""`},
		{"client name taken", func(l *Leg) { l.Client.Interface = "eth0" }, ErrInterfaceTaken, "client: eth0"},
		{"endpoint name taken", func(l *Leg) { l.Endpoint.NetNS, l.Endpoint.Interface = n.endpoints[0], "leg-a" }, ErrInterfaceTaken, "endpoint: leg-a"},
		{"client namespace missing", func(l *Leg) { l.Client.NetNS = "/run/netns/missing" }, ErrNoNamespace, "client: /run/netns/missing"},
		{"endpoint namespace missing", func(l *Leg) { l.Endpoint.NetNS = "/proc/4194305/ns/net" }, ErrNoNamespace, "endpoint: /proc/4194305/ns/net"},
		{"no namespace", func(l *Leg) { l.Client.NetNS = "" }, ErrNoNamespace, "client: namespace path is empty"},
		{"other MAC", func(l *Leg) { l.Client.MAC = net.HardwareAddr{2, 0, 0, 0, 9, 9} }, ErrMACConflict, "02:00:00:00:09:09"},
		{"address on another interface", func(l *Leg) { l.Client.Addresses = append(l.Client.Addresses, prefix("192.0.2.1/32")) }, ErrAddressTaken, "192.0.2.1/32 of nsm-1 is on eth0"},
		{"no id", func(l *Leg) { l.ID = "" }, ErrInvalidLeg, "id is empty"},
		{"long id", func(l *Leg) { l.ID = strings.Repeat("x", 241) }, ErrInvalidLeg, "241 bytes"},
		{"small MTU", func(l *Leg) { l.Client.MTU = 67 }, ErrInvalidLeg, "MTU 67"},
		{"group MAC", func(l *Leg) { l.Endpoint.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 0} }, ErrInvalidLeg, "01:00:00:00:00:00"},
		{"unspecified address", func(l *Leg) { l.Client.Addresses = []netip.Prefix{default4} }, ErrInvalidLeg, "address 0.0.0.0/0"},
		{"mixed route", func(l *Leg) { l.Client.Routes = []Route{{Prefix: default4, Gateway: gateway6}} }, ErrInvalidLeg, "route 0.0.0.0/0 via fe80"},
		{"mixed policy", func(l *Leg) { l.Client.Policies = []Policy{{From: vip4, Routes: []Route{{Prefix: default6}}}} }, ErrInvalidLeg, "policy from 20.0.0.1/32"},
		{"zero policy", func(l *Leg) { l.Client.Policies = []Policy{{}} }, ErrInvalidLeg, "policy from"},
		{"zero neighbour", func(l *Leg) { l.Client.Neighbours = []Neighbour{{}} }, ErrInvalidLeg, "neighbour"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := n.leg(1)
			c.change(&l)
			err := n.Connect(context.Background(), l)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
			if diff := cmp.Diff(before, n.state(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(status, n.snapshot(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTooManyLegs(t *testing.T) {
	n := newNode(t, Options{})
	l := n.leg(0)
	l.Client.Routes, l.Client.Neighbours = nil, nil
	l.Endpoint.Addresses, l.Endpoint.Routes, l.Endpoint.Neighbours = nil, nil, nil
	connect := func(i int) error {
		l.ID, l.Endpoint.Interface = string(rune('A'+i)), "leg-"+string(rune('A'+i))
		return n.Connect(context.Background(), l)
	}
	for i := range 64 {
		if err := connect(i); err != nil {
			t.Fatal(err)
		}
	}
	before := n.state(t)
	if err := connect(64); !errors.Is(err, ErrTooManyLegs) {
		t.Errorf("%v, want ErrTooManyLegs", err)
	}
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// A caller that gives up while another works on the port changes nothing.
func TestWaitEndsWithContext(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	p := n.legs["leg-0"]
	if err := p.lock(context.Background()); err != nil {
		t.Fatal(err)
	}
	unlock := sync.OnceFunc(p.unlock)
	t.Cleanup(unlock)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range []error{n.Connect(ctx, n.leg(0)), n.Disconnect(ctx, "leg-0"), n.Withdraw(ctx, "leg-0")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want canceled", err)
		}
	}
	unlock()
	n.exchangeOwn(t, 0)
}
