// SPDX-License-Identifier: Apache-2.0

package liveness

import "github.com/prometheus/client_golang/prometheus"

// stats count since the start.
type stats struct {
	answered, lost, failed               uint64 // probes
	deaths, returns                      uint64
	states, repeated, heard, stale, acks uint64
}

var (
	peersDesc = prometheus.NewDesc("weft_forwarder_peers",
		"Other nodes that signalling tunnels lead to, by what probes say of them.", []string{"state"}, nil)
	tunnelsDesc = prometheus.NewDesc("weft_forwarder_peer_tunnels",
		"Tunnels to other nodes, by the carrier of their far ends.", []string{"carrier"}, nil)
	probesDesc = prometheus.NewDesc("weft_forwarder_peer_probes_total",
		"Probes to other nodes: answered, without answer for an interval, or not sent.", []string{"result"}, nil)
	changesDesc = prometheus.NewDesc("weft_forwarder_peer_changes_total",
		"Deaths of other nodes and returns from them.", []string{"to"}, nil)
	statesDesc = prometheus.NewDesc("weft_forwarder_peer_states_total",
		"Messages about the carrier of tunnels' ends. A repeated one is a sent one, too; a stale one was overtaken by a newer one.",
		[]string{"event"}, nil)
)

// Describe implements prometheus.Collector.
func (*Liveness) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{peersDesc, tunnelsDesc, probesDesc, changesDesc, statesDesc} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (l *Liveness) Collect(out chan<- prometheus.Metric) {
	peers, tunnels, s := l.count()
	for _, state := range []status{unheard, alive, dead} {
		out <- prometheus.MustNewConstMetric(peersDesc, prometheus.GaugeValue, float64(peers[state]), state.String())
	}
	for _, c := range []carrier{carrierUnknown, carrierDown, carrierUp} {
		out <- prometheus.MustNewConstMetric(tunnelsDesc, prometheus.GaugeValue, float64(tunnels[c]), c.String())
	}
	counter := func(desc *prometheus.Desc, label string, n uint64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), label)
	}
	counter(probesDesc, "answered", s.answered)
	counter(probesDesc, "lost", s.lost)
	counter(probesDesc, "failed", s.failed)
	counter(changesDesc, "dead", s.deaths)
	counter(changesDesc, "alive", s.returns)
	counter(statesDesc, "sent", s.states)
	counter(statesDesc, "repeated", s.repeated)
	counter(statesDesc, "heard", s.heard)
	counter(statesDesc, "stale", s.stale)
	counter(statesDesc, "acknowledged", s.acks)
}

func (l *Liveness) count() (peers map[status]int, tunnels map[carrier]int, s stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	peers, tunnels = map[status]int{}, map[carrier]int{}
	for _, p := range l.peers {
		peers[p.prober.status]++
	}
	for _, t := range l.tunnels {
		tunnels[t.carrier()]++
	}
	return peers, tunnels, l.stats
}
