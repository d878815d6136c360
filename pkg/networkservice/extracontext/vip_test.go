// SPDX-License-Identifier: Apache-2.0

package extracontext_test

import (
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

func TestVIPs(t *testing.T) {
	policy := func(from, hop string) *networkservice.PolicyRoute {
		return &networkservice.PolicyRoute{From: from, Routes: []*networkservice.Route{{Prefix: "::/0", NextHop: hop}}}
	}
	vips := extracontext.VIPsOf(&networkservice.IPContext{Policies: []*networkservice.PolicyRoute{
		policy("20.0.0.1", "10.0.0.1"), policy("20.0.0.2/32", ""), policy("20.0.0.17/28", extracontext.Gateway4.String()),
		policy("2000::/120", extracontext.Gateway6.String()), policy("172.16.0.0/16", "172.16.0.1"), policy("nonsense", ""),
	}})
	for addr, want := range map[string]bool{
		"20.0.0.1": true, "20.0.0.2": true, "20.0.0.3": false, "20.0.0.16": true, "20.0.0.31": true, "20.0.0.32": false,
		"2000::ff": true, "2000::100": false, "172.16.0.2": false, "::ffff:20.0.0.1": false,
	} {
		if got := vips.Contain(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}
