// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// seriesLimit bounds the flows, and the targets, that have a time series of
// their own; the traffic of all others adds up under the label value "(other)".
// Streams are few: the data plane has room for Limits.Streams.
const (
	seriesLimit = 1000
	other       = "(other)"
)

// traffic is a pair of counters of one kind of thing.
type traffic struct{ packets, bytes *prometheus.Desc }

var (
	targetsDesc = prometheus.NewDesc("weft_lb_stream_targets",
		"Targets in the Maglev table in force.", []string{"stream"}, nil)
	registeredDesc = prometheus.NewDesc("weft_lb_stream_targets_registered",
		"Targets that have joined the stream, whether or not their leg works.", []string{"stream"}, nil)
	failedDesc = prometheus.NewDesc("weft_lb_stream_table_failed",
		"1 while the newest Maglev table could not be put in force.", []string{"stream"}, nil)
	shadowDesc = prometheus.NewDesc("weft_lb_shadow",
		"1 while the programs of an earlier process still work in the place of this replica's.", nil, nil)
	reasonsDesc = prometheus.NewDesc("weft_lb_packets_total",
		"Packets seen by the load balancer, by what became of them.", []string{"reason"}, nil)
	slowPathDesc = prometheus.NewDesc("weft_lb_slowpath_total",
		"What user space did for packets that the program cannot finish: ICMP errors, cut packets, early fragments.", []string{"event"}, nil)
	heldDesc = prometheus.NewDesc("weft_lb_slowpath_fragments_held",
		"Fragments that wait for the first one of their packet.", nil, nil)

	flowTraffic = traffic{
		prometheus.NewDesc("weft_lb_flow_packets_total",
			"Packets of the flow that were sent to targets.", []string{"flow", "stream"}, nil),
		prometheus.NewDesc("weft_lb_flow_bytes_total",
			"Bytes of the packets of the flow that were sent to targets, from the Ethernet header on.", []string{"flow", "stream"}, nil),
	}
	streamTraffic = traffic{
		prometheus.NewDesc("weft_lb_stream_packets_total",
			"Packets of the stream that were sent to targets.", []string{"stream"}, nil),
		prometheus.NewDesc("weft_lb_stream_bytes_total",
			"Bytes of the packets of the stream that were sent to targets, from the Ethernet header on.", []string{"stream"}, nil),
	}
	targetTraffic = traffic{
		prometheus.NewDesc("weft_lb_target_packets_total",
			"Packets sent to the target.", []string{"target"}, nil),
		prometheus.NewDesc("weft_lb_target_bytes_total",
			"Bytes of the packets sent to the target, from the Ethernet header on.", []string{"target"}, nil),
	}
)

// Describe implements prometheus.Collector.
func (b *Balancer) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		targetsDesc, registeredDesc, failedDesc, shadowDesc, reasonsDesc, slowPathDesc, heldDesc,
		flowTraffic.packets, flowTraffic.bytes, streamTraffic.packets, streamTraffic.bytes,
		targetTraffic.packets, targetTraffic.bytes,
	} {
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
	shadow := 0.0
	if snapshot.Shadow {
		shadow = 1
	}
	out <- prometheus.MustNewConstMetric(shadowDesc, prometheus.GaugeValue, shadow)
	b.collectReasons(out)
	b.collectTraffic(out, snapshot)
}

func (b *Balancer) collectReasons(out chan<- prometheus.Metric) {
	reasons, err := b.dp.Counters()
	if err != nil {
		out <- prometheus.NewInvalidMetric(reasonsDesc, err)
	}
	for reason, n := range reasons {
		count(out, reasonsDesc, n, reason.String())
	}
	slow := b.dp.SlowPath()
	for event, n := range slow.All {
		count(out, slowPathDesc, n, event)
	}
	out <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(slow.Held))
}

func (b *Balancer) collectTraffic(out chan<- prometheus.Metric, snapshot Snapshot) {
	flows := series{out: out, traffic: flowTraffic, rest: []string{other, other}}
	for _, f := range snapshot.Flows {
		seen, err := b.dp.FlowTraffic(f.ID)
		flows.add(seen, err, f.Name, f.Stream)
	}
	flows.end()
	streams := series{out: out, traffic: streamTraffic, rest: []string{other}}
	for _, s := range snapshot.Streams {
		seen, err := b.dp.StreamTraffic(s.ID)
		streams.add(seen, err, s.Name)
	}
	streams.end()
	targets := series{out: out, traffic: targetTraffic, rest: []string{other}}
	for _, t := range snapshot.Targets {
		seen, err := b.dp.TargetTraffic(t.ID)
		targets.add(seen, err, t.Name)
	}
	targets.end()
}

// series are the counters of one kind of thing, at most seriesLimit of them
// under names of their own.
type series struct {
	out chan<- prometheus.Metric
	traffic
	rest  []string // label values of what is beyond the limit
	n     int
	extra lb.Traffic
}

func (s *series) add(t lb.Traffic, err error, labels ...string) {
	s.n++
	switch {
	case err != nil:
		s.out <- prometheus.NewInvalidMetric(s.packets, err)
	case s.n <= seriesLimit:
		count(s.out, s.packets, t.Packets, labels...)
		count(s.out, s.bytes, t.Bytes, labels...)
	default:
		s.extra.Packets += t.Packets
		s.extra.Bytes += t.Bytes
	}
}

func (s *series) end() {
	if s.n > seriesLimit {
		count(s.out, s.packets, s.extra.Packets, s.rest...)
		count(s.out, s.bytes, s.extra.Bytes, s.rest...)
	}
}

func count(out chan<- prometheus.Metric, desc *prometheus.Desc, n uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}
