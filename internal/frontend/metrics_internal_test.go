// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/metrics/metricstest"
)

// part is the metrics of a collector with a prefix.
type part struct {
	prometheus.Collector
	descs []*prometheus.Desc
}

func (p part) Describe(out chan<- *prometheus.Desc) {
	for _, d := range p.descs {
		out <- d
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	metricstest.Documented(t, "weft_frontend_", part{descs: []*prometheus.Desc{gatewayUpDesc, routesDesc, problemDesc}})
	metricstest.Documented(t, "weft_bgp_", part{descs: []*prometheus.Desc{
		bgpUpDesc, bgpSinceDesc, bgpFlapsDesc, bgpAnnouncedDesc, bgpReceivedDesc, bgpRefusedDesc, bgpUpdatesDesc,
	}})
	metricstest.Documented(t, "weft_bfd_", part{descs: []*prometheus.Desc{
		bfdUpDesc, bfdFlapsDesc, bfdDetectionDesc, bfdTxDesc, bfdPacketsDesc, bfdDiscardedDesc,
	}})
	// The registry refuses what is not described, and Gathered what is of another
	// type than documented.
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector{Status: func() Status {
		return Status{
			Problem: "x", Routes: []Route{{}},
			Gateways: []GatewayStatus{{
				Name: "a", Address: netip.MustParseAddr("192.0.2.1"), Up: true,
				BGP: &BGPStatus{State: "established", Since: time.Now()}, BFD: &BFDStatus{State: "up"},
			}},
		}
	}})
	metricstest.Gathered(t, registry)
}
