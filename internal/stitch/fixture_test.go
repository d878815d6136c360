// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

const limit = 5 * time.Second

var (
	workloadMAC = net.HardwareAddr{2, 0, 0, 0, 1, 1}
	gateway4    = netip.MustParseAddr("169.254.87.1")
	gateway6    = netip.MustParseAddr("fe80::57:4546:5401")
	vip4        = netip.MustParsePrefix("20.0.0.1/32")
	vip6        = netip.MustParsePrefix("2000::1/128")
	default4    = netip.MustParsePrefix("0.0.0.0/0")
	default6    = netip.MustParsePrefix("::/0")
)

// node is a Stitcher in a namespace of its own, with a workload and two
// endpoints around it.
type node struct {
	*Stitcher
	opts           Options
	host, workload string
	endpoints      [2]string
}

func newNode(t testing.TB, opts Options) *node {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	n := &node{host: testutil.NetNS(t), workload: testutil.NetNS(t)}
	for i := range n.endpoints {
		n.endpoints[i] = testutil.NetNS(t)
	}
	opts.NetNS = n.host
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
	})
	n.Stitcher, n.opts = s, opts
	return n
}

// leg is a complete leg to endpoint i, as a load balancer's.
func (n *node) leg(i int) Leg {
	client4, client6 := prefix("172.16.%d.10/32", i), prefix("fd00:%d::10/128", i)
	own4, own6 := prefix("172.16.%d.1/32", i), prefix("fd00:%d::1/128", i)
	mac := net.HardwareAddr{2, 0, 0, 0, 2, byte(i)}
	return Leg{
		ID: fmt.Sprint("leg-", i),
		Client: Side{
			NetNS: n.workload, Interface: "nsm-1", MAC: workloadMAC,
			Addresses:  []netip.Prefix{client4, client6, vip4, vip6},
			Routes:     []Route{{Prefix: own4}, {Prefix: own6}},
			Neighbours: []Neighbour{{gateway4, xconnect.DefaultGateway}, {gateway6, xconnect.DefaultGateway}, {own4.Addr(), mac}, {own6.Addr(), mac}},
			Policies: []Policy{
				{From: vip4, Routes: []Route{{Prefix: default4, Gateway: gateway4}}},
				{From: vip6, Routes: []Route{{Prefix: default6, Gateway: gateway6}}},
			},
		},
		Endpoint: Side{
			NetNS: n.endpoints[i], Interface: "leg-a", MAC: mac,
			Addresses:  []netip.Prefix{own4, own6},
			Routes:     []Route{{Prefix: client4}, {Prefix: client6}, {Prefix: vip4}, {Prefix: vip6}},
			Neighbours: []Neighbour{{client4.Addr(), workloadMAC}, {client6.Addr(), workloadMAC}, {vip4.Addr(), workloadMAC}, {vip6.Addr(), workloadMAC}},
		},
	}
}

func prefix(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

func (n *node) connect(t testing.TB, legs ...Leg) {
	t.Helper()
	for _, l := range legs {
		if err := n.Connect(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func (n *node) disconnect(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := n.Disconnect(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// port returns the status of the only port.
func (n *node) port(t testing.TB) PortStatus {
	t.Helper()
	all, err := n.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("%d ports, want 1: %+v", len(all), all)
	}
	return all[0]
}

// active returns the ids of the legs in use.
func (n *node) active(t testing.TB) []string {
	t.Helper()
	var ids []string
	for _, l := range n.port(t).Legs {
		if l.Active {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// state describes everything of ours in the namespaces, for comparison.
func (n *node) state(t testing.TB) map[string]string {
	t.Helper()
	state := map[string]string{}
	for name, ns := range map[string]string{"host": n.host, "workload": n.workload, "endpoint 0": n.endpoints[0], "endpoint 1": n.endpoints[1]} {
		describe(t, state, name, ns)
	}
	return state
}

// Of these, everything is described.
type (
	plainRule  nl.Rule
	plainRoute nl.Route
)

func describe(t testing.TB, state map[string]string, name, ns string) {
	t.Helper()
	h, err := nl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	links, err := h.Links()
	must(err)
	for _, l := range links {
		addresses, err := h.Addresses(l.Index)
		must(err)
		for _, a := range addresses {
			if !a.Addr().IsLinkLocalUnicast() { // the kernel's, at a time of its own
				state[fmt.Sprintf("%s %s address %s", name, l.Name, a)] = ""
			}
		}
		neighbours, err := h.Neighbours(l.Index)
		must(err)
		for _, nb := range neighbours {
			if !nb.IP.IsMulticast() {
				state[fmt.Sprintf("%s %s neighbour %s", name, l.Name, nb.IP)] = nb.MAC.String()
			}
		}
		state[name+" "+l.Name] = fmt.Sprintf("%d %s %s mtu %d up %v carrier %v", l.Index, l.MAC, l.Alias, l.MTU, l.Up, l.Carrier)
	}
	rules, err := h.Rules()
	must(err)
	for _, r := range rules {
		state[fmt.Sprintf("%s rule %+v", name, plainRule(r))] = ""
	}
	tables, err := h.UsedTables()
	must(err)
	for table := range tables {
		routes, err := h.Routes(table)
		must(err)
		for _, r := range routes {
			state[fmt.Sprintf("%s route %+v", name, plainRoute(r))] = ""
		}
	}
}
