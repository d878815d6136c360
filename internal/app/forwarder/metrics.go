// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/trunk"
)

// collectTimeout bounds the wait for interfaces that are being changed.
const collectTimeout = time.Second

var (
	packetsDesc = prometheus.NewDesc("weft_forwarder_packets_total",
		"Frames seen by the cross-connect, by what became of them.", []string{"reason"}, nil)
	interfacesDesc = prometheus.NewDesc("weft_forwarder_interfaces",
		"Workload interfaces on this node.", nil, nil)
	legsDesc = prometheus.NewDesc("weft_forwarder_legs",
		"Legs of the workload interfaces: active ones may carry the workload's frames.", []string{"state"}, nil)
)

var (
	vlanPacketsDesc = prometheus.NewDesc("weft_vlan_packets_total",
		"Frames of frontends' VLANs, by what became of them.", []string{"reason"}, nil)
	vlanPortsDesc = prometheus.NewDesc("weft_vlan_ports",
		"Frontends' interfaces in VLANs of this node.", nil, nil)
)

// collector shows the state of the stitcher.
type collector struct{ stitcher *stitch.Stitcher }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{packetsDesc, interfacesDesc, legsDesc} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	counters, err := c.stitcher.Counters()
	if err != nil {
		out <- prometheus.NewInvalidMetric(packetsDesc, err)
	}
	for reason, n := range counters {
		out <- prometheus.MustNewConstMetric(packetsDesc, prometheus.CounterValue, float64(n), reason.String())
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	ports, err := c.stitcher.Snapshot(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(interfacesDesc, err)
		return
	}
	active, waiting := 0, 0
	for _, p := range ports {
		for _, l := range p.Legs {
			if l.Active {
				active++
			} else {
				waiting++
			}
		}
	}
	out <- prometheus.MustNewConstMetric(interfacesDesc, prometheus.GaugeValue, float64(len(ports)))
	out <- prometheus.MustNewConstMetric(legsDesc, prometheus.GaugeValue, float64(active), "active")
	out <- prometheus.MustNewConstMetric(legsDesc, prometheus.GaugeValue, float64(waiting), "waiting")
}

// vlanCollector shows the state of the trunk.
type vlanCollector struct{ trunk *trunk.Trunk }

// Describe implements prometheus.Collector.
func (vlanCollector) Describe(out chan<- *prometheus.Desc) {
	out <- vlanPacketsDesc
	out <- vlanPortsDesc
}

// Collect implements prometheus.Collector.
func (c vlanCollector) Collect(out chan<- prometheus.Metric) {
	counters, err := c.trunk.Counters()
	if err != nil {
		out <- prometheus.NewInvalidMetric(vlanPacketsDesc, err)
	}
	for reason, n := range counters {
		out <- prometheus.MustNewConstMetric(vlanPacketsDesc, prometheus.CounterValue, float64(n), reason.String())
	}
	out <- prometheus.MustNewConstMetric(vlanPortsDesc, prometheus.GaugeValue, float64(c.trunk.Len()))
}
