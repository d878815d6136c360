// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/testutil"
)

// waiting is leg i of an endpoint that brings its interface up itself.
func (n *node) waiting(i int) Leg {
	l := n.leg(i)
	l.EndpointBringsUp = true
	return l
}

// set brings an interface of a namespace up or down.
func set(t *testing.T, ns, name string, up bool) {
	t.Helper()
	h := testutil.Handle(t, ns)
	change := h.SetDown
	if up {
		change = h.SetUp
	}
	if err := change(testutil.Link(t, ns, name).Index); err != nil {
		t.Fatal(err)
	}
}

func (n *node) becomes(t *testing.T, what string, active ...string) {
	t.Helper()
	testutil.Eventually(t, limit, what, func() bool { return cmp.Equal(active, n.active(t)) })
}

func (n *node) carrier(t *testing.T, i int) func() bool {
	return func() bool {
		l := testutil.Link(t, n.endpoints[i], "leg-a")
		return l.Carrier
	}
}

func (n *node) noCarrier(t *testing.T, i int) func() bool {
	return func() bool {
		l := testutil.Link(t, n.endpoints[i], "leg-a")
		return l.Up && !l.Carrier
	}
}

// The legs of endpoints that do not answer are used while there is no other.
func TestLose(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	for i, want := range [][]string{{"leg-1"}, {"leg-0", "leg-1"}} {
		if err := n.Lose(t.Context(), fmt.Sprint("leg-", i)); err != nil {
			t.Fatal(err)
		}
		n.becomes(t, "a lost leg is used only if all are", want...)
	}
	n.connect(t, n.leg(0))
	n.becomes(t, "a leg that is back is used alone", "leg-0")
	n.connect(t, n.leg(1))
	n.becomes(t, "both are back", "leg-0", "leg-1")
}

func TestLegsFollowTheirEndpoints(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.waiting(0))
	if l := testutil.Link(t, n.endpoints[0], "leg-a"); l.Up {
		t.Error("the endpoint's interface is up before the endpoint has brought it up")
	}
	n.becomes(t, "the only leg, endpoint down", "leg-0")
	set(t, n.endpoints[0], "leg-a", true)
	n.routed(t, 0)
	n.exchangeOwn(t, 0)
	n.exchangeVIP(t, 0)

	n.connect(t, n.waiting(1))
	n.becomes(t, "the second one waits", "leg-0")
	n.exchangeVIP(t, 0)
	set(t, n.endpoints[1], "leg-a", true)
	n.becomes(t, "the second one is up", "leg-0", "leg-1")
	n.routed(t, 1)
	n.exchangeOwn(t, 1)

	set(t, n.endpoints[0], "leg-a", false)
	n.becomes(t, "the first one is down", "leg-1")
	n.exchangeVIP(t, 1)
	set(t, n.endpoints[1], "leg-a", false)
	n.becomes(t, "both are down")
	set(t, n.endpoints[1], "leg-a", true)
	n.becomes(t, "the second one is back", "leg-1")
	n.routed(t, 1)
	n.exchangeOwn(t, 1)
	n.connect(t, n.waiting(0), n.waiting(1))
	n.becomes(t, "refresh changes nothing", "leg-1")
}

// routed waits for the routes that an endpoint gets after it came up.
func (n *node) routed(t *testing.T, i int) {
	t.Helper()
	h := testutil.Handle(t, n.endpoints[i])
	testutil.Eventually(t, limit, "routes of the endpoint", func() bool {
		routes, err := h.Routes(0)
		return err == nil && len(routes) == 4
	})
}

func TestEndpointNamespaceDies(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	testutil.DeleteNetNS(t, n.endpoints[0])
	n.becomes(t, "the leg of the dead endpoint leaves", "leg-1")
	n.exchangeOwn(t, 1)
	n.disconnect(t, "leg-0")
	n.exchangeVIP(t, 1)
}

func TestClientGoesDownAndUp(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	n.exchangeOwn(t, 0)
	want := n.state(t)
	for range 3 {
		set(t, n.workload, "nsm-1", false)
		testutil.Eventually(t, limit, "endpoint 0 loses carrier", n.noCarrier(t, 0))
		testutil.Eventually(t, limit, "endpoint 1 loses carrier", n.noCarrier(t, 1))
		set(t, n.workload, "nsm-1", true)
		testutil.Eventually(t, limit, "endpoint 0 has carrier", n.carrier(t, 0))
		testutil.Eventually(t, limit, "endpoint 1 has carrier", n.carrier(t, 1))
		n.becomes(t, "both legs are back", "leg-0", "leg-1")
		// The kernel has dropped routes and IPv6 addresses meanwhile.
		testutil.Eventually(t, limit, "all is as before", func() bool { return cmp.Equal(want, n.state(t)) })
		n.exchangeOwn(t, 0)
		n.exchangeOwn(t, 1)
	}
}

// Down and up again before anybody looks.
func TestClientFlaps(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	want := n.state(t)
	p := n.legs["leg-0"]
	if err := p.lock(context.Background()); err != nil {
		t.Fatal(err)
	}
	unlock := sync.OnceFunc(p.unlock)
	t.Cleanup(unlock)
	set(t, n.workload, "nsm-1", false)
	set(t, n.workload, "nsm-1", true)
	unlock()
	testutil.Eventually(t, limit, "all is as before", func() bool { return cmp.Equal(want, n.state(t)) })
	n.exchangeOwn(t, 0)
}

// The workload's namespace is gone: the endpoints see it by their carrier,
// and what remains can be disconnected.
func TestWorkloadDies(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	testutil.DeleteNetNS(t, n.workload)
	testutil.Eventually(t, limit, "endpoint 0 loses carrier", n.noCarrier(t, 0))
	testutil.Eventually(t, limit, "endpoint 1 loses carrier", n.noCarrier(t, 1))
	if err := n.Connect(context.Background(), n.leg(0)); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("Connect: %v, want ErrNoNamespace", err)
	}
	n.disconnect(t, "leg-0", "leg-1")
	for i := range n.endpoints {
		h := testutil.Handle(t, n.endpoints[i])
		if links, err := h.Links(); err != nil || len(links) != 1 {
			t.Errorf("endpoint %d has %v (%v), want only lo", i, links, err)
		}
	}
}

// The workload has a new namespace under the same path, and the agent heals
// the same connection.
func TestWorkloadIsReplaced(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0), n.leg(1))
	testutil.DeleteNetNS(t, n.workload)
	testutil.Eventually(t, limit, "endpoint 0 loses carrier", n.noCarrier(t, 0))
	n.workload = testutil.NetNS(t)
	n.connect(t, n.leg(0), n.leg(1))
	n.becomes(t, "both legs", "leg-0", "leg-1")
	n.exchangeOwn(t, 0)
	n.exchangeOwn(t, 1)
}

// Somebody in the workload deletes the interface: the next Connect brings the
// same one back.
func TestInterfaceIsRemade(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	before := n.state(t)
	n.connect(t, n.leg(0), n.leg(1))
	mac := n.port(t).MAC
	for _, wait := range []bool{true, false} {
		h := testutil.Handle(t, n.workload)
		if err := h.DeleteLink(testutil.Link(t, n.workload, "nsm-1").Index); err != nil {
			t.Fatal(err)
		}
		if wait {
			testutil.Eventually(t, limit, "endpoint 0 loses carrier", n.noCarrier(t, 0))
			testutil.Eventually(t, limit, "endpoint 1 loses carrier", n.noCarrier(t, 1))
		}
		n.connect(t, n.leg(0))
		testutil.Eventually(t, limit, "endpoint 0 has carrier", n.carrier(t, 0))
		testutil.Eventually(t, limit, "endpoint 1 has carrier", n.carrier(t, 1))
		n.becomes(t, "both legs", "leg-0", "leg-1")
		if got := n.port(t).MAC; got.String() != mac.String() {
			t.Errorf("MAC %s, want %s", got, mac)
		}
		n.exchangeOwn(t, 0)
		n.exchangeOwn(t, 1)
	}
	n.disconnect(t, "leg-0", "leg-1")
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// Likewise the endpoint's.
func TestEndpointInterfaceIsRemade(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	h := testutil.Handle(t, n.endpoints[0])
	if err := h.DeleteLink(testutil.Link(t, n.endpoints[0], "leg-a").Index); err != nil {
		t.Fatal(err)
	}
	n.connect(t, n.leg(0))
	n.becomes(t, "the leg", "leg-0")
	n.exchangeOwn(t, 0)
	n.exchangeVIP(t, 0)
}

// A workload has another way out of its namespace. Packets from the VIP take
// the legs, and without one nothing at all.
func TestVIPNeverLeaks(t *testing.T) {
	n := newNode(t, Options{})
	primary := newPrimary(t, n)
	n.connect(t, n.leg(0))
	if _, err := testutil.Exchange(n.workload, "tcp", "", primary.echo, "over the primary network"); err != nil {
		t.Fatal(err)
	}
	fromVIP := func() error {
		c, err := testutil.Dial(t.Context(), n.workload, "udp", net.JoinHostPort(vip4.Addr().String(), "0"), net.JoinHostPort(primary.address, "9"))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write([]byte("from the VIP"))
		return err
	}
	if err := fromVIP(); err != nil {
		t.Errorf("with a leg: %v", err)
	}
	leg := testutil.Link(t, n.workload, "nsm-1")
	h := testutil.Handle(t, n.workload)
	rules, err := h.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		routes, err := h.Routes(rule.Table)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Index == leg.Index {
				if err := h.DeleteRoute(r); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := fromVIP(); err == nil {
		t.Error("a packet from the VIP found a way without a leg")
	}
	if got := primary.received.Load(); got != 0 {
		t.Errorf("%d packets from the VIP came over the primary network", got)
	}
}

// Whoever looks at a link between its fall and the event of it does not take the
// event's work away: the routes that the kernel has dropped come back.
func TestFallSeenByAnother(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	want := n.state(t)
	p, id := n.find("leg-0")
	if err := p.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		ns, name string
		e        *end
	}{{n.endpoints[0], "leg-a", &p.legs[id].endpoint}, {n.workload, "nsm-1", &p.client}} {
		set(t, end.ns, end.name, false)
		set(t, end.ns, end.name, true)
		if carrier, err := n.look(testutil.Handle(t, n.host), end.e); err != nil || !carrier {
			t.Errorf("carrier of %s is %v, %v", end.name, carrier, err)
		}
	}
	n.release(p)
	testutil.Eventually(t, limit, "everything is back", func() bool { return cmp.Equal(want, n.state(t)) })
}
