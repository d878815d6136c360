// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"github.com/prometheus/client_golang/prometheus"
)

// seriesLimit bounds the targets that have a time series of their own; the
// traffic of all others adds up under the label value "(other)".
const seriesLimit = 1000

var (
	targetsDesc = prometheus.NewDesc("weft_lb_stream_targets",
		"Targets in the Maglev table in force.", []string{"stream"}, nil)
	registeredDesc = prometheus.NewDesc("weft_lb_stream_targets_registered",
		"Targets that have joined the stream, whether or not their leg works.", []string{"stream"}, nil)
	failedDesc = prometheus.NewDesc("weft_lb_stream_table_failed",
		"1 while the newest Maglev table could not be put in force.", []string{"stream"}, nil)
	reasonsDesc = prometheus.NewDesc("weft_lb_packets_total",
		"Packets seen by the load balancer, by what became of them.", []string{"reason"}, nil)
	packetsDesc = prometheus.NewDesc("weft_lb_target_packets_total",
		"Packets sent to the target.", []string{"target"}, nil)
	bytesDesc = prometheus.NewDesc("weft_lb_target_bytes_total",
		"Bytes of the packets sent to the target, from the Ethernet header on.", []string{"target"}, nil)
)

// Describe implements prometheus.Collector.
func (b *Balancer) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{targetsDesc, registeredDesc, failedDesc, reasonsDesc, packetsDesc, bytesDesc} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (b *Balancer) Collect(out chan<- prometheus.Metric) {
	snapshot := b.Snapshot()
	registered := map[string]int{}
	for _, t := range snapshot.Targets {
		for _, name := range t.Streams {
			registered[name]++
		}
	}
	gauge := func(desc *prometheus.Desc, value int, label string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), label)
	}
	for _, s := range snapshot.Streams {
		failed := 0
		if s.Error != "" {
			failed = 1
		}
		gauge(targetsDesc, len(s.Targets), s.Name)
		gauge(registeredDesc, registered[s.Name], s.Name)
		gauge(failedDesc, failed, s.Name)
	}
	b.collectPackets(out, snapshot)
}

func (b *Balancer) collectPackets(out chan<- prometheus.Metric, snapshot Snapshot) {
	counter := func(desc *prometheus.Desc, value uint64, label string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), label)
	}
	reasons, err := b.dp.Counters()
	if err != nil {
		out <- prometheus.NewInvalidMetric(reasonsDesc, err)
	}
	for reason, n := range reasons {
		counter(reasonsDesc, n, reason.String())
	}
	var otherPackets, otherBytes uint64
	for i, t := range snapshot.Targets {
		packets, bytes, err := b.dp.TargetCounters(t.ID)
		switch {
		case err != nil:
			out <- prometheus.NewInvalidMetric(packetsDesc, err)
		case i < seriesLimit:
			counter(packetsDesc, packets, t.Name)
			counter(bytesDesc, bytes, t.Name)
		default:
			otherPackets += packets
			otherBytes += bytes
		}
	}
	if len(snapshot.Targets) > seriesLimit {
		counter(packetsDesc, otherPackets, "(other)")
		counter(bytesDesc, otherBytes, "(other)")
	}
}
