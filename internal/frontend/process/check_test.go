// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/frontend"
)

func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*frontend.Config)
		want   []string
	}{
		"nothing":       {func(*frontend.Config) {}, nil},
		"empty for nil": {func(c *frontend.Config) { c.Gateways[0].BFD.AuthKey = []byte{} }, nil},
		"VIPs":          {func(c *frontend.Config) { c.VIPs = c.VIPs[:1] }, []string{"VIPs"}},
		"announced":     {func(c *frontend.Config) { c.Announce = nil }, []string{"announced VIPs"}},
		"password":      {func(c *frontend.Config) { c.Gateways[0].BGP.Password = "hidden" }, []string{"gateway gw1"}},
		"gateways": {func(c *frontend.Config) {
			c.Gateways = []frontend.Gateway{gateway(2, false, nil, nil)}
		}, []string{"gateway gw1", "gateway gw2"}},
		"router id": {func(c *frontend.Config) { c.RouterID = netip.MustParseAddr("192.0.2.7") }, []string{"settings"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := config(gateway(1, false, bgpOf(), bfdOf())), config(gateway(1, false, bgpOf(), bfdOf()))
			c.change(&b)
			got := Differences(a, b)
			if !slices.Equal(got, c.want) || strings.Contains(strings.Join(got, ""), "hidden") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
