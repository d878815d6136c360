// SPDX-License-Identifier: Apache-2.0

package frontend

import "github.com/prometheus/client_golang/prometheus"

var perGateway = []string{"gateway", "address"}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append(perGateway[:len(perGateway):len(perGateway)], labels...), nil)
}

var (
	gatewayUpDesc = describe("weft_frontend_gateway_up", "1 while replies may go to the gateway and what is announced to it is in force.")
	routesDesc    = prometheus.NewDesc("weft_frontend_routes", "Routes in the routing table of the frontend, without the blackholes.", nil, nil)
	problemDesc   = prometheus.NewDesc("weft_frontend_problem", "1 while something is wrong that concerns no single gateway, such as a missing interface.", nil, nil)

	bgpUpDesc        = describe("weft_bgp_session_up", "1 while the BGP session is established.")
	bgpSinceDesc     = describe("weft_bgp_session_established_timestamp_seconds", "When the BGP session was established, in Unix time; absent while it is not.")
	bgpFlapsDesc     = describe("weft_bgp_session_flaps_total", "How often the BGP session was established and went down.")
	bgpAnnouncedDesc = describe("weft_bgp_announced_prefixes", "Prefixes that the gateway is told.")
	bgpReceivedDesc  = describe("weft_bgp_received_prefixes", "Prefixes that the gateway tells.")
	bgpRefusedDesc   = describe("weft_bgp_refused_prefixes", "Prefixes of the gateway that are not taken.")
	bgpUpdatesDesc   = describe("weft_bgp_updates_total", "BGP updates.", "direction")

	bfdUpDesc        = describe("weft_bfd_session_up", "1 while the BFD session is up.")
	bfdFlapsDesc     = describe("weft_bfd_session_flaps_total", "How often the BFD session was up and went down.")
	bfdDetectionDesc = describe("weft_bfd_detection_seconds", "After how long without a packet the BFD session goes down, as negotiated.")
	bfdTxDesc        = describe("weft_bfd_transmit_interval_seconds", "How often BFD packets are sent, as negotiated.")
	bfdPacketsDesc   = describe("weft_bfd_packets_total", "BFD packets of the session.", "direction")
	bfdDiscardedDesc = describe("weft_bfd_discarded_packets_total", "BFD packets of the session that were discarded, for example because they are not authentic.")
)

// Collector shows a Status as metrics. It is for a registerer that labels what it
// shows with the endpoint.
type Collector struct{ Status func() Status }

// Describe implements prometheus.Collector.
func (Collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		gatewayUpDesc, routesDesc, problemDesc,
		bgpUpDesc, bgpSinceDesc, bgpFlapsDesc, bgpAnnouncedDesc, bgpReceivedDesc, bgpRefusedDesc, bgpUpdatesDesc,
		bfdUpDesc, bfdFlapsDesc, bfdDetectionDesc, bfdTxDesc, bfdPacketsDesc, bfdDiscardedDesc,
	} {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(out chan<- prometheus.Metric) {
	s := c.Status()
	out <- prometheus.MustNewConstMetric(routesDesc, prometheus.GaugeValue, float64(len(s.Routes)))
	out <- prometheus.MustNewConstMetric(problemDesc, prometheus.GaugeValue, oneIf(s.Problem != ""))
	for _, g := range s.Gateways {
		m := meter{out: out, labels: []string{g.Name, g.Address.String()}}
		m.gauge(gatewayUpDesc, oneIf(g.Up))
		if g.BGP != nil {
			m.bgp(*g.BGP)
		}
		if g.BFD != nil {
			m.bfd(*g.BFD)
		}
	}
}

// meter shows what belongs to one gateway.
type meter struct {
	out    chan<- prometheus.Metric
	labels []string
}

func (m meter) gauge(desc *prometheus.Desc, value float64) {
	m.out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, m.labels...)
}

func (m meter) counter(desc *prometheus.Desc, value uint64, labels ...string) {
	m.out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), append(m.labels[:2:2], labels...)...)
}

func (m meter) bgp(b BGPStatus) {
	up := b.State == "established"
	m.gauge(bgpUpDesc, oneIf(up))
	if up {
		m.gauge(bgpSinceDesc, float64(b.Since.UnixMilli())/1000)
	}
	m.counter(bgpFlapsDesc, b.Flaps)
	m.gauge(bgpAnnouncedDesc, float64(len(b.Announced)))
	m.gauge(bgpReceivedDesc, float64(b.Received))
	m.gauge(bgpRefusedDesc, float64(b.Refused))
	m.counter(bgpUpdatesDesc, b.UpdatesSent, "sent")
	m.counter(bgpUpdatesDesc, b.UpdatesSeen, "received")
}

func (m meter) bfd(b BFDStatus) {
	m.gauge(bfdUpDesc, oneIf(b.State == "up"))
	m.counter(bfdFlapsDesc, b.Flaps)
	m.gauge(bfdDetectionDesc, b.DetectionTime.Seconds())
	m.gauge(bfdTxDesc, b.TxInterval.Seconds())
	m.counter(bfdPacketsDesc, b.Sent, "sent")
	m.counter(bfdPacketsDesc, b.Received, "received")
	m.counter(bfdDiscardedDesc, b.Discarded)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
