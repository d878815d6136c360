// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/frontend"
)

func TestFrontendShow(t *testing.T) {
	h := newHost(t)
	four, six := netip.MustParsePrefix("20.0.0.1/32"), netip.MustParsePrefix("2000::1/128")
	h.frontends = []announce.State{
		{Replica: "lb-2", Trench: "a", Attractor: "att", Interface: "ext0", Problem: "the external interface ext0 is missing",
			Withheld: map[string]string{"gw-2": `bgp.auth: key "key" of secret "bgp": there is no file /etc/weft/bgp/key`}},
		{Replica: "lb-1", Trench: "a", Attractor: "att", Interface: "ext0", NetNS: "/run/netns/lb-1", Table: 4711,
			Status: frontend.Status{
				Default4: []netip.Addr{netip.MustParseAddr("10.1.0.254")},
				Routes: []frontend.Route{{
					Prefix: netip.MustParsePrefix("0.0.0.0/0"), NextHops: []netip.Addr{netip.MustParseAddr("10.1.0.254")}, Gateways: []string{"gw-1"},
				}},
				Gateways: []frontend.GatewayStatus{
					{Name: "gw-1", Address: netip.MustParseAddr("10.1.0.254"), Up: true,
						BGP: &frontend.BGPStatus{State: "established", Since: epoch, Announced: []netip.Prefix{four}, Received: 3, Refused: 1,
							Refusal: "2001::/16: not ours", HoldTime: 90 * time.Second, Keepalive: 30 * time.Second},
						BFD: &frontend.BFDStatus{State: "up", Since: epoch.Add(time.Minute), Flaps: 1, DetectionTime: 150 * time.Millisecond, LastError: "neighbor signaled session down"}},
					{Name: "gw-2", Address: netip.MustParseAddr("10.1.0.253"), Reason: "BGP is active: connection refused",
						BGP: &frontend.BGPStatus{State: "active", LastError: "connection refused"}},
				},
			},
			VIPs: []announce.Decision{
				{VIP: four, Announced: true, Reason: announce.Announced, Since: epoch},
				{VIP: six, Reason: announce.NoTarget, Message: "stream web has no target", Since: epoch.Add(30 * time.Minute)},
			}},
	}
	golden(t, "frontend", h, "frontend show", "frontend show lb-1 -o wide", "frontend show lb-1 -o yaml", "frontend show nobody", "frontend")
}
