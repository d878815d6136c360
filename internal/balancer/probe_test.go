// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// TestProbeErrors: what a VIP lacks is told by its kind.
func TestProbeErrors(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	vip := prefix("20.0.0.1/32")
	config := *f.Config()
	config.VIPs = []netip.Prefix{vip, prefix("20.0.0.2/32")}
	config.Flows = []Flow{flow("http", "web", "20.0.0.1/32")}
	f.config(config)
	for _, c := range []struct {
		vip  string
		want error
	}{{"20.0.0.1/32", ErrNoTargets}, {"20.0.0.2/32", ErrNoFlow}, {"2000::1/128", ErrNoFlow}} {
		if err := f.Probe(prefix(c.vip)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.vip, err, c.want)
		}
	}
	if len(f.plane.probes) != 0 {
		t.Errorf("%d probes without need", len(f.plane.probes))
	}
}

// TestGatewaysOfConfiguration are written when they change, until live ones come.
func TestGatewaysOfConfiguration(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	config := *f.Config()
	v4, v6 := netip.MustParseAddr("10.0.0.254"), netip.MustParseAddr("fd00::fe")
	f.config(config)
	if n := len(f.plane.gateways); n != 0 {
		t.Errorf("%d writes of nothing", n)
	}
	config.Gateways = []netip.Addr{v4, v6}
	f.config(config)
	f.config(config)
	want := lb.Gateways{Default4: []netip.Addr{v4}, Default6: []netip.Addr{v6}}
	if len(f.plane.gateways) != 1 || !f.Snapshot().Gateways.Equal(want) {
		t.Errorf("written: %+v, want %+v", f.plane.gateways, want)
	}
	live := lb.Gateways{Default4: []netip.Addr{v6}, Table: 7}
	if err := f.SetGateways(live); err != nil {
		t.Fatal(err)
	}
	config.Gateways = nil
	f.config(config)
	if !f.Snapshot().Gateways.Equal(live) {
		t.Errorf("in force: %+v, want the live ones", f.Snapshot().Gateways)
	}
}
