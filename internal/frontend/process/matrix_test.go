// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/router"
)

var (
	net4 = netip.MustParsePrefix("198.51.100.0/24")
	net6 = netip.MustParsePrefix("2001:db8:9::/48")
)

// Every kind of gateway comes up, its routes are in the table, and nothing is left
// of them.
func TestGateways(t *testing.T) {
	testutil.Require(t, "bird")
	for _, c := range []struct{ v6, bgp, bfd bool }{
		{false, true, true}, {false, true, false}, {false, false, true}, {false, false, false},
		{true, true, true}, {true, true, false}, {true, false, true}, {true, false, false},
	} {
		t.Run(fmt.Sprintf("v6=%v,bgp=%v,bfd=%v", c.v6, c.bgp, c.bfd), func(t *testing.T) {
			w := newWorld(t, 1)
			router.StartBIRD(t, w.gateways[1], birdConfig(1, c.v6, c.bgp, c.bfd, ""))
			g := gateway(1, c.v6, nil, nil)
			via4, via6 := gatewayAddr(1, false).String(), gatewayAddr(1, true).String()
			want := map[netip.Prefix]string{all4: via4}
			if c.v6 {
				want = map[netip.Prefix]string{all6: via6}
			}
			if c.bgp {
				g.BGP = bgpOf()
				want = map[netip.Prefix]string{all4: via4, net4: via4, all6: via6, net6: via6}
			}
			if c.bfd {
				g.BFD = calmBFD()
			}
			w.start()
			w.set(config(g))
			w.allUp("the gateway is up")
			w.routesBecome(want)
			w.eventually("the defaults are told", func(s frontend.Status) bool {
				return len(s.Default4)+len(s.Default6) > 0 && s.Specific == c.bgp && s.Problem == ""
			})
			must(t, w.p.Close(t.Context()))
			w.nothingLeft()
		})
	}
}
