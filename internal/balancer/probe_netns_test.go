// SPDX-License-Identifier: Apache-2.0

package balancer_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// TestProbeVIP follows a replica from the first target to the last, and has VIPs of
// every kind of flow probed.
func TestProbeVIP(t *testing.T) {
	r := newReplica(t)
	vips := []netip.Prefix{netip.PrefixFrom(lbtest.VIP4, 32), netip.PrefixFrom(lbtest.VIP6, 128)}
	probe := func(when string, want error) {
		t.Helper()
		for _, vip := range vips {
			if err := r.Probe(vip); !errors.Is(err, want) {
				t.Errorf("%s: %s: %v, want %v", when, vip, err, want)
			}
		}
	}
	probe("nobody there", balancer.ErrNoTargets)
	r.connect(1)
	r.must(r.Register(t.Context(), target(1)))
	r.wantTable(1)
	probe("a target", nil)
	for what, change := range map[string]func(*classify.Rule){
		"ports": func(c *classify.Rule) { c.DestinationPorts = []classify.PortRange{{First: 5000, Last: 5001}} },
		"SCTP":  func(c *classify.Rule) { c.Protocols = []uint8{packet.SCTP} },
		"source": func(c *classify.Rule) {
			c.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:7::/48")}
		},
		"bytes": func(c *classify.Rule) {
			c.Protocols = []uint8{packet.UDP}
			c.ByteMatches = []classify.ByteMatch{{Protocol: packet.UDP, Offset: 60, Width: 4, Value: 7}}
		},
		"port translation": func(c *classify.Rule) {
			c.Protocols, c.DestinationPorts, c.TargetPort = []uint8{packet.TCP}, []classify.PortRange{{First: 80, Last: 80}}, 8080
		},
	} {
		config := r.router.Config(1)
		change(&config.Flows[0].Rule)
		r.must(r.SetConfig(t.Context(), config))
		probe(what, nil)
	}
	ranges := r.router.Config(1)
	vips = []netip.Prefix{netip.MustParsePrefix("20.9.0.0/16"), netip.MustParsePrefix("2000:9::/32")}
	ranges.VIPs, ranges.Flows[0].Rule.VIPs = vips, vips
	r.must(r.SetConfig(t.Context(), ranges))
	probe("ranges", nil)
	h := testutil.Handle(t, r.netNS)
	ext := testutil.Link(t, r.netNS, lbtest.External)
	r.must(h.SetDown(ext.Index))
	probe("interface down", lb.ErrNotSeen)
	r.must(h.SetUp(ext.Index))
	probe("up again", nil)
}
