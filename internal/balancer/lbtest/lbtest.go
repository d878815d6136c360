// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// External is the name of a replica's external interface.
const External = "ext0"

// VIPs of the configuration that Config returns.
var (
	VIP4 = netip.MustParseAddr("20.0.0.1")
	VIP6 = netip.MustParseAddr("2000::1")
)

// Router is the outside: a namespace that is gateway and client at once, and
// routes the VIPs to the replicas.
type Router struct {
	NetNS      string
	Gateways   []netip.Addr
	t          testing.TB
	net        *nl.Handle
	hops4      []nl.NextHop
	hops6      []nl.NextHop
	lastNumber int
}

// NewRouter makes a router without replicas.
func NewRouter(t testing.TB) *Router {
	t.Helper()
	ns := testutil.NetNS(t)
	return &Router{NetNS: ns, t: t, net: testutil.Handle(t, ns)}
}

// AddReplica makes a namespace with an external interface to the router, routes
// the VIPs to it as well, and returns its path.
func (r *Router) AddReplica() string {
	r.t.Helper()
	r.lastNumber++
	n := r.lastNumber
	ns := testutil.NetNS(r.t)
	inside := testutil.Handle(r.t, ns)
	link, peer, err := r.net.AddVeth(nl.Veth{Name: fmt.Sprintf("lb%d", n), PeerName: External, PeerNetNS: ns, PeerUp: true})
	r.must(err)
	r.must(r.net.SetUp(link.Index))
	for _, format := range []string{"10.0.%d.%d/24", "fd00:%d::%d/64"} {
		gateway := netip.MustParsePrefix(fmt.Sprintf(format, n, 254))
		replica := netip.MustParsePrefix(fmt.Sprintf(format, n, 1))
		r.must(r.net.AddAddress(link.Index, gateway))
		r.must(inside.AddAddress(peer.Index, replica))
		r.Gateways = append(r.Gateways, gateway.Addr())
		hop := nl.NextHop{Index: link.Index, Gateway: replica.Addr()}
		if replica.Addr().Is4() {
			r.hops4 = append(r.hops4, hop)
		} else {
			r.hops6 = append(r.hops6, hop)
		}
	}
	r.must(r.net.ReplaceRoute(nl.Route{Prefix: netip.PrefixFrom(VIP4, 32), Multipath: r.hops4}))
	r.must(r.net.ReplaceRoute(nl.Route{Prefix: netip.PrefixFrom(VIP6, 128), Multipath: r.hops6}))
	return ns
}

func (r *Router) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// Config returns what the replica made n-th (from 1) balances: both VIPs to
// stream "web".
func (r *Router) Config(n int) balancer.Config {
	vips := []netip.Prefix{netip.PrefixFrom(VIP4, 32), netip.PrefixFrom(VIP6, 128)}
	return balancer.Config{
		VIPs:     vips,
		Streams:  []balancer.Stream{{Name: "web"}},
		Flows:    []balancer.Flow{{Stream: "web", Rule: classify.Rule{Name: "web", VIPs: vips}}},
		Gateways: r.Gateways[2*(n-1) : 2*n],
	}
}

// Remote returns the VIP of a family ("4" or "6") with a port.
func Remote(family string, port uint16) string {
	if family == "6" {
		return netip.AddrPortFrom(VIP6, port).String()
	}
	return netip.AddrPortFrom(VIP4, port).String()
}
