// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkLeg times the life of legs with everything that a load balancer's
// has: the first one with its client interface, another one on the same
// interface, an unchanged one, and their ends. p50 and p99 of all cycles.
func BenchmarkLeg(b *testing.B) {
	n := newNode(b, Options{})
	first, second := n.waiting(0), n.waiting(1)
	phases := []struct {
		name string
		run  func()
	}{
		{"first", func() { n.connect(b, first) }},
		{"second", func() { n.connect(b, second) }},
		{"refresh", func() { n.connect(b, first) }},
		{"disconnect", func() { n.disconnect(b, first.ID) }},
		{"disconnect-last", func() { n.disconnect(b, second.ID) }},
	}
	times := make([][]time.Duration, len(phases))
	for b.Loop() {
		for i, phase := range phases {
			start := time.Now()
			phase.run()
			times[i] = append(times[i], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op") // of a whole cycle, says little
	for i, phase := range phases {
		slices.Sort(times[i])
		b.ReportMetric(float64(times[i][len(times[i])/2])/1e6, phase.name+"-p50-ms")
		b.ReportMetric(float64(times[i][len(times[i])*99/100])/1e6, phase.name+"-p99-ms")
	}
}
