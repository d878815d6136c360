// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/attachment"
)

var (
	attachmentsDesc = prometheus.NewDesc("weft_agent_attachments",
		"Attachments on this node, by whether they are ready.", []string{"ready"}, nil)
	agentLegsDesc = prometheus.NewDesc("weft_agent_legs",
		"Connections to endpoints that attachments have or want.", nil, nil)
)

// collector shows the state of the reconciler.
type collector struct{ manager *attachment.Manager }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	out <- attachmentsDesc
	out <- agentLegsDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	count, legs := map[bool]int{}, 0
	for _, a := range c.manager.List(attachment.Filter{}) {
		count[a.Condition(attachment.Ready).Status == attachment.True]++
		legs += len(a.Status.Legs)
	}
	for _, ready := range []bool{false, true} {
		out <- prometheus.MustNewConstMetric(attachmentsDesc, prometheus.GaugeValue, float64(count[ready]), strconv.FormatBool(ready))
	}
	out <- prometheus.MustNewConstMetric(agentLegsDesc, prometheus.GaugeValue, float64(legs))
}
