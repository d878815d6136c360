// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/testutil"
)

func TestLegsComeAndGo(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	before := n.state(t)
	for range 2 {
		n.connect(t, n.leg(0), n.leg(0))
		n.exchangeOwn(t, 0)
		n.exchangeVIP(t, 0)
		n.connect(t, n.leg(1), n.leg(1), n.leg(0))
		n.exchangeOwn(t, 0)
		n.exchangeOwn(t, 1)
		if diff := cmp.Diff([]string{"leg-0", "leg-1"}, n.active(t)); diff != "" {
			t.Error(diff)
		}
		n.disconnect(t, "leg-0", "leg-0")
		n.exchangeOwn(t, 1)
		n.exchangeVIP(t, 1)
		n.disconnect(t, "leg-1", "leg-1", "never")
		if diff := cmp.Diff(before, n.state(t)); diff != "" {
			t.Error(diff)
		}
	}
	if all, err := n.Snapshot(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%+v remain (%v)", all, err)
	}
	if ports, err := n.xc.Ports(); err != nil || len(ports) != 0 {
		t.Errorf("ports %v remain in the data path (%v)", ports, err)
	}
	if len(n.byIndex)+len(n.ports)+len(n.legs)+len(n.tables.used) != 0 {
		t.Errorf("%v %v %v %v remain", n.byIndex, n.ports, n.legs, n.tables.used)
	}
}

// What the first leg brought and the second needs stays; the rest goes.
func TestSecondLegKeepsWhatItNeeds(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(1))
	only := n.state(t)
	n.connect(t, n.leg(0))
	both := n.state(t)
	for key, value := range only {
		if both[key] != value {
			t.Errorf("%s was %s and is %s with another leg", key, value, both[key])
		}
	}
	n.disconnect(t, "leg-0")
	if diff := cmp.Diff(only, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// Close removes what is left.
func TestCloseRemovesAll(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	n := newNode(t, Options{})
	before := n.state(t)
	n.connect(t, n.leg(0), n.leg(1))
	if err := n.Close(false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
	if err := n.Connect(context.Background(), n.leg(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
}

// An endpoint that is not ours: one leg, no MAC addresses, the inner end is up
// at once, ARP and ND cross.
func TestForeignEndpoint(t *testing.T) {
	n := newNode(t, Options{})
	leg := Leg{
		ID:       "foreign",
		Client:   Side{NetNS: n.workload, Interface: "nsm-1", Addresses: []netip.Prefix{prefix("172.16.0.10/24"), prefix("fd00:0::10/64")}},
		Endpoint: Side{NetNS: n.endpoints[0], Interface: "client-1", Addresses: []netip.Prefix{prefix("172.16.0.1/24"), prefix("fd00:0::1/64")}},
	}
	n.connect(t, leg)
	n.exchangeOwn(t, 0)
	n.connect(t, leg)
	n.exchangeOwn(t, 0)
	port := n.port(t)
	if len(port.MAC) != 6 || len(port.Legs[0].MAC) != 6 || !port.Legs[0].Active || !port.Legs[0].Carrier {
		t.Errorf("%+v", port)
	}
}

func TestLiveChange(t *testing.T) {
	n := newNode(t, Options{})
	first := n.leg(0)
	n.connect(t, first)
	before, start := n.state(t), n.port(t)

	changed := n.leg(0)
	vip := prefix("20.0.0.2/32")
	changed.Client.Addresses = append(changed.Client.Addresses[:2:2], vip, vip6, prefix("172.16.0.11/32"))
	changed.Client.Routes = append(changed.Client.Routes, Route{Prefix: prefix("10.5.0.0/16"), Gateway: gateway4})
	changed.Client.Policies[0] = Policy{From: vip, Routes: []Route{
		{Prefix: default4, Gateway: gateway4}, {Prefix: default4, Gateway: netip.MustParseAddr("169.254.87.2")},
		{Prefix: prefix("10.6.0.0/16")},
	}}
	changed.Client.MTU, changed.Endpoint.MTU = 1400, 1300
	changed.Client.Neighbours[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 5}
	changed.Endpoint.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	n.connect(t, changed, changed)
	got := n.state(t)
	for _, key := range []string{
		"workload nsm-1 address 20.0.0.2/32", "workload nsm-1 address 172.16.0.11/32",
	} {
		if _, ok := got[key]; !ok {
			t.Errorf("no %s", key)
		}
	}
	for key := range got {
		if strings.Contains(key, "20.0.0.1") && strings.HasPrefix(key, "workload") {
			t.Errorf("%s remains", key)
		}
	}
	text := fmt.Sprint(got)
	for _, want := range []string{
		"mtu 1400", "mtu 1300", "rule {From:20.0.0.2/32", "02:00:00:00:00:05", "Prefix:10.5.0.0/16 Gateway:169.254.87.1",
		"Prefix:10.6.0.0/16", "Gateway:169.254.87.2 Weight:1 OnLink:true",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	port := n.port(t)
	if port.IfIndex != start.IfIndex || port.MAC.String() != start.MAC.String() || port.Outer != start.Outer ||
		port.Legs[0].IfIndex != start.Legs[0].IfIndex || port.Legs[0].MAC.String() != "02:00:00:00:00:07" {
		t.Errorf("from %+v to %+v", start, port)
	}
	n.connect(t, first)
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// What was removed behind our back comes back with the next Connect.
func TestConnectRepairs(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	want := n.state(t)
	h := testutil.Handle(t, n.workload)
	index := testutil.Link(t, n.workload, "nsm-1").Index
	rules, err := h.Rules()
	if err != nil || len(rules) < 2 {
		t.Fatalf("rules %v, %v", rules, err)
	}
	routes, err := h.Routes(rules[0].Table)
	if err != nil || len(routes) != 2 {
		t.Fatalf("routes %v, %v", routes, err)
	}
	for _, err := range []error{
		h.DeleteAddress(index, vip6), h.DeleteNeighbour(index, gateway4), h.DeleteRule(rules[1]),
		h.DeleteRoute(routes[0]), h.DeleteRoute(routes[1]), h.SetMTU(index, 1280),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	n.connect(t, n.leg(0))
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// What others have put on the interface or into the namespace stays.
func TestOthersStay(t *testing.T) {
	n := newNode(t, Options{})
	n.connect(t, n.leg(0))
	h := testutil.Handle(t, n.workload)
	index := testutil.Link(t, n.workload, "nsm-1").Index
	foreign := prefix("192.0.2.7/24")
	if err := h.AddAddress(index, foreign); err != nil {
		t.Fatal(err)
	}
	n.connect(t, n.leg(0), n.leg(1))
	n.disconnect(t, "leg-0")
	if _, ok := n.state(t)["workload nsm-1 address 192.0.2.7/24"]; !ok {
		t.Error("a foreign address has been removed")
	}
}

func TestPortsAreIndependent(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	before := n.state(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			l := n.leg(i % 2)
			l.ID = fmt.Sprint("parallel-", i)
			l.Client.Interface, l.Endpoint.Interface = fmt.Sprint("nsm-", i), fmt.Sprint("leg-", i)
			vip := prefix("20.0.1.%d/32", i)
			l.Client.Addresses = []netip.Prefix{prefix("172.17.0.%d/32", i), vip}
			l.Client.Policies = []Policy{{From: vip, Routes: []Route{{Prefix: default4, Gateway: gateway4}}}}
			l.Endpoint.Addresses, l.Endpoint.Routes, l.Endpoint.Neighbours = nil, nil, nil
			for range 5 {
				for range 2 {
					if err := n.Connect(context.Background(), l); err != nil {
						t.Error(err)
						return
					}
				}
				if err := n.Disconnect(context.Background(), l.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// Two networks of one workload may share the addresses of a VIP range, as they
// may a single one.
func TestSharedRange(t *testing.T) {
	n := newNode(t, Options{})
	before := n.state(t)
	for i := range 2 {
		l := n.leg(i)
		l.ID, l.Client.Interface = fmt.Sprint("shared-", i), fmt.Sprint("nsm-", i)
		l.Client.Addresses = []netip.Prefix{prefix("172.17.0.%d/32", i), prefix("20.0.2.0/32"), prefix("20.0.2.15/32")}
		l.Client.Policies = []Policy{{From: prefix("20.0.2.0/28"), Routes: []Route{{Prefix: default4, Gateway: gateway4}}}}
		l.Endpoint.Addresses, l.Endpoint.Routes, l.Endpoint.Neighbours = nil, nil, nil
		n.connect(t, l)
	}
	n.disconnect(t, "shared-0", "shared-1")
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// The same leg from several callers at once, as refresh and heal may do.
func TestOneLegFromMany(t *testing.T) {
	n := newNode(t, Options{})
	before := n.state(t)
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			for range 5 {
				if err := n.Connect(context.Background(), n.leg(i%2)); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if err := n.Disconnect(context.Background(), n.leg(i%2).ID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	n.connect(t, n.leg(0))
	n.exchangeOwn(t, 0)
	n.disconnect(t, "leg-0", "leg-1")
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// exchangeOwn sends over TCP and UDP, IPv4 and IPv6, from the workload to the
// endpoint's own addresses.
func (n *node) exchangeOwn(t *testing.T, i int) {
	t.Helper()
	t.Run("own addresses", func(t *testing.T) {
		for _, own := range []string{prefix("172.16.%d.1/32", i).Addr().String(), prefix("fd00:%d::1/128", i).Addr().String()} {
			at := testutil.Echo(t, n.endpoints[i], net.JoinHostPort(own, "0"))
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, n.workload, network, "", at)
			}
		}
	})
}

// exchangeVIP sends from an endpoint to the workload's VIPs. The replies take
// any leg, so only this endpoint's may be in use.
func (n *node) exchangeVIP(t *testing.T, i int) {
	t.Helper()
	t.Run("VIPs", func(t *testing.T) {
		for vip, own := range map[string]string{
			vip4.Addr().String(): prefix("172.16.%d.1/32", i).Addr().String(),
			vip6.Addr().String(): prefix("fd00:%d::1/128", i).Addr().String(),
		} {
			at := testutil.Echo(t, n.workload, net.JoinHostPort(vip, "0"))
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, n.endpoints[i], network, net.JoinHostPort(own, "0"), at)
			}
		}
	})
}
