// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/testutil"
)

func TestLegCarriesTraffic(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	n := newNode(t, Options{})
	before := n.state(t)
	for range 3 {
		start := time.Now()
		n.connect(t, n.leg(0))
		t.Log("connect", time.Since(start))
		start = time.Now()
		n.connect(t, n.leg(1))
		t.Log("second", time.Since(start))
		start = time.Now()
		n.connect(t, n.leg(1))
		t.Log("again", time.Since(start))
		if diff := cmp.Diff([]string{"leg-0", "leg-1"}, n.active(t)); diff != "" {
			t.Error(diff)
		}
		n.exchangeOwn(t, 0)
		n.exchangeOwn(t, 1)
		start = time.Now()
		n.disconnect(t, "leg-0")
		t.Log("disconnect", time.Since(start))
		n.exchangeAll(t, 1)
		start = time.Now()
		n.disconnect(t, "leg-1")
		t.Log("disconnect last", time.Since(start))
	}
	if diff := cmp.Diff(before, n.state(t)); diff != "" {
		t.Error(diff)
	}
}

// exchangeOwn sends over TCP and UDP, IPv4 and IPv6, from the workload to the
// endpoint's own addresses.
func (n *node) exchangeOwn(t *testing.T, i int) {
	t.Helper()
	t.Run("own addresses", func(t *testing.T) {
		for _, own := range []string{prefix("172.16.%d.1/32", i).Addr().String(), prefix("fd00:%d::1/128", i).Addr().String()} {
			at := testutil.Echo(t, n.endpoints[i], net.JoinHostPort(own, "0"))
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, n.workload, network, "", at)
			}
		}
	})
}

// exchangeVIP sends from an endpoint to the workload's VIPs. The replies take
// any leg, so only this endpoint's may be in use.
func (n *node) exchangeVIP(t *testing.T, i int) {
	t.Helper()
	t.Run("VIPs", func(t *testing.T) {
		for vip, own := range map[string]string{
			vip4.Addr().String(): prefix("172.16.%d.1/32", i).Addr().String(),
			vip6.Addr().String(): prefix("fd00:%d::1/128", i).Addr().String(),
		} {
			at := testutil.Echo(t, n.workload, net.JoinHostPort(vip, "0"))
			for _, network := range []string{"tcp", "udp"} {
				testutil.MustExchange(t, n.endpoints[i], network, net.JoinHostPort(own, "0"), at)
			}
		}
	})
}

func (n *node) exchangeAll(t *testing.T, i int) {
	t.Helper()
	n.exchangeOwn(t, i)
	n.exchangeVIP(t, i)
}
