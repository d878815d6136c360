// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// TestRanges: two workloads serve all addresses of a /28 and a /120; a third one
// those of a range within, by a flow of higher priority.
func TestRanges(t *testing.T) {
	n := newNode(t)
	p := netip.MustParsePrefix
	ranges := []netip.Prefix{p("20.0.0.0/28"), p("2000::/120")}
	inner := []netip.Prefix{p("20.0.0.8/31"), p("2000::80/127")}
	n.addReplica(func(_ *endpoint.Config, b *balancer.Config) {
		b.VIPs = append(append([]netip.Prefix{}, ranges...), inner...)
		b.Streams = []balancer.Stream{{Name: "web"}, {Name: "sip"}}
		b.Flows = []balancer.Flow{
			{Stream: "web", Rule: classify.Rule{Name: "web", VIPs: ranges}},
			{Stream: "sip", Rule: classify.Rule{
				Name: "sip", Priority: 1, VIPs: inner, DestinationPorts: []classify.PortRange{{First: port, Last: port}},
			}},
		}
	})
	outside := testutil.Handle(t, n.router.NetNS)
	link := testutil.Link(t, n.router.NetNS, "lb1")
	for i, hop := range []string{"10.0.1.1", "fd00:1::1"} {
		n.must(outside.ReplaceRoute(nl.Route{Prefix: ranges[i], Multipath: []nl.NextHop{{Index: link.Index, Gateway: netip.MustParseAddr(hop)}}}))
	}
	workloads := []workload{n.addWorkload(), n.addWorkload(), n.addWorkload()}
	var connections []*networkservice.Connection
	for i, stream := range []string{"web", "web", "sip"} {
		connections = append(connections, n.attach(workloads[i], 1, stream))
	}
	// First and last of each range, one between, and one of those within.
	everywhere := []string{"20.0.0.0", "20.0.0.7", "20.0.0.15", "2000::", "2000::81", "2000::ff"}
	within := []string{"20.0.0.8", "20.0.0.9", "2000::80", "2000::81"}
	serve := func(w workload, addrs []string, ports ...uint16) {
		for _, addr := range addrs {
			for _, p := range ports {
				testutil.Echo(t, w.netNS, netip.AddrPortFrom(netip.MustParseAddr(addr), p).String())
			}
		}
	}
	exchange := func(addrs []string, port uint16) {
		for _, addr := range addrs {
			for range 8 {
				at := netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
				testutil.MustExchange(t, n.router.NetNS, "tcp", "", at)
				testutil.MustExchange(t, n.router.NetNS, "udp", "", at)
			}
		}
	}
	for _, w := range workloads[:2] {
		serve(w, everywhere, port+1)
	}
	serve(workloads[2], within, port)
	exchange(everywhere, port+1)
	if n.packets(1, workloads[2]) != 0 {
		t.Error("the flow of the inner range takes other ports")
	}
	for _, w := range workloads[:2] {
		if n.packets(1, w) == 0 {
			t.Errorf("%s got nothing", w.name)
		}
	}
	exchange(within, port) // only the third one serves this port: the others would refuse
	if n.packets(1, workloads[2]) == 0 {
		t.Error("the flow of the inner range got nothing")
	}
	for _, conn := range connections {
		n.close(conn)
	}
}
