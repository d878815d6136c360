// SPDX-License-Identifier: Apache-2.0

package nl_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// What is asked about one interface does not list the others'.
func TestListingsOfOneInterface(t *testing.T) {
	h := testutil.Handle(t, testutil.NetNS(t))
	var index [3]int
	for i := range index {
		link, peer, err := h.AddVeth(nl.Veth{Name: fmt.Sprint("a", i), PeerName: fmt.Sprint("b", i)})
		if err != nil {
			t.Fatal(err)
		}
		index[i] = link.Index
		own, far := netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/32", i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/128", i))
		for _, err := range []error{
			h.SetUp(link.Index), h.SetUp(peer.Index), h.AddAddress(link.Index, own),
			h.AddNeighbour(link.Index, far.Addr(), net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}),
			h.AddRoute(nl.Route{Index: link.Index, Prefix: far, Metric: 1024}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	shared := netip.MustParsePrefix("198.51.100.0/24")
	if err := h.AddRoute(nl.Route{Prefix: shared, Multipath: []nl.NextHop{{Index: index[0]}, {Index: index[1]}}}); err != nil {
		t.Fatal(err)
	}
	before := nl.Listed()
	neighbours, err := h.Neighbours(index[1])
	if err != nil || len(neighbours) != 1 || neighbours[0].IP != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("neighbours %v, %v", neighbours, err)
	}
	routes, err := h.RoutesOver(index[1], 0)
	if err != nil || len(routes) != 2 {
		t.Errorf("routes %v, %v", routes, err)
	}
	addresses, err := h.Addresses(index[1])
	if err != nil || !slices.Contains(addresses, netip.MustParsePrefix("192.0.2.1/32")) {
		t.Errorf("addresses %v, %v", addresses, err)
	}
	hosts, err := h.HostRoutes(index[1])
	if err != nil || hosts[netip.MustParseAddr("2001:db8::1")] != index[1] || hosts[netip.MustParseAddr("2001:db8::2")] != 0 {
		t.Errorf("host routes %v, %v", hosts, err)
	}
	// A link-local address and what the kernel makes of it may come at any time.
	if n := nl.Listed() - before; n > 20 {
		t.Errorf("%d objects were listed", n)
	}
	for addr, want := range map[string]int{"2001:db8::2": index[2], "2001:db8::9": 0, "192.0.2.1": 0, "203.0.113.1": 0} {
		if got, err := h.HostRoute(netip.MustParseAddr(addr)); err != nil || got != want {
			t.Errorf("%s is behind %d, %v; want %d", addr, got, err, want)
		}
	}
	if err := h.DeleteLink(index[1]); err != nil {
		t.Fatal(err)
	}
	if routes, err := h.RoutesOver(index[1], 0); err != nil || len(routes) != 0 {
		t.Errorf("of an interface that is gone: %v, %v", routes, err)
	}
	if addresses, err := h.Addresses(index[1]); err != nil || len(addresses) != 0 {
		t.Errorf("of an interface that is gone: %v, %v", addresses, err)
	}
	if neighbours, err := h.Neighbours(index[1]); err != nil || len(neighbours) != 0 {
		t.Errorf("of an interface that is gone: %v, %v", neighbours, err)
	}
}
