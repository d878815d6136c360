// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/metrics/metricstest"
)

// collector collects from a snapshot that no balancer has to have come to.
type collector struct {
	*Balancer
	snapshot Snapshot
}

func (c collector) Collect(out chan<- prometheus.Metric) { c.collectTraffic(out, c.snapshot) }

// gather returns the metrics by name and label values.
func gather(t *testing.T, c prometheus.Collector) (map[string]float64, error) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got, err
}

func expect(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s = %v (%v), want %v", name, v, ok, value)
		}
	}
}

// withFlow has stream web, with a flow of the same name.
func withFlow(t *testing.T) *fixture {
	t.Helper()
	f := start(t)
	if err := f.SetConfig(t.Context(), Config{
		Streams: []Stream{{Name: "web"}}, Flows: []Flow{flow("web-flow", "web", "20.0.0.1/32")},
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMetrics(t *testing.T) {
	f := withFlow(t)
	f.join(1, "web")
	f.join(2, "web")
	f.wantTable("web", 1, 2)
	f.register(wish(3, "web"))
	got, err := gather(t, f.Balancer)
	if err != nil {
		t.Fatal(err)
	}
	flow, stream := f.Snapshot().Flows[0].ID, f.Snapshot().Stream("web").ID
	expect(t, got, map[string]float64{
		"weft_lb_stream_targets web":              2,
		"weft_lb_stream_targets_registered web":   3,
		"weft_lb_stream_table_failed web":         0,
		"weft_lb_packets_total forwarded":         4,
		"weft_lb_packets_total no_flow":           5,
		"weft_lb_slowpath_total packets_cut":      6,
		"weft_lb_slowpath_fragments_held":         7,
		"weft_lb_flow_packets_total web-flow web": 3,
		"weft_lb_flow_bytes_total web-flow web":   300 + float64(flow),
		"weft_lb_stream_packets_total web":        2,
		"weft_lb_stream_bytes_total web":          200 + float64(stream),
		"weft_lb_target_packets_total target-2":   2,
		"weft_lb_target_bytes_total target-2":     200,
	})
}

// However many flows and targets there are, the series are bounded and none of
// the traffic is lost.
func TestMetricsAreBounded(t *testing.T) {
	f := start(t)
	var s Snapshot
	for i := range seriesLimit + 10 {
		s.Flows = append(s.Flows, FlowState{Name: fmt.Sprintf("f%04d", i), ID: uint32(i), Stream: "web"})
		s.Streams = append(s.Streams, StreamState{Name: fmt.Sprintf("s%04d", i), ID: uint32(i)})
		s.Targets = append(s.Targets, TargetState{Name: fmt.Sprintf("t%04d", i), ID: uint16(i + 1)})
	}
	got, err := gather(t, collector{f.Balancer, s})
	if err != nil {
		t.Fatal(err)
	}
	if want := 6 * (seriesLimit + 1); len(got) != want {
		t.Errorf("%d series, want %d", len(got), want)
	}
	expect(t, got, map[string]float64{
		"weft_lb_flow_packets_total f0999 web":       3,
		"weft_lb_flow_packets_total (other) (other)": 30,
		"weft_lb_stream_packets_total (other)":       20,
		"weft_lb_target_packets_total t0999":         1000,
		"weft_lb_target_packets_total (other)":       1001 + 1002 + 1003 + 1004 + 1005 + 1006 + 1007 + 1008 + 1009 + 1010,
	})
}

// What cannot be read is an error of the scrape, and the rest is there.
func TestMetricsThatCannotBeRead(t *testing.T) {
	for _, method := range []string{"Counters", "FlowTraffic", "StreamTraffic", "TargetTraffic"} {
		f := withFlow(t)
		f.join(1, "web")
		f.wantTable("web", 1)
		f.plane.set(func() { f.plane.fail[method] = errors.New(method + " is broken") })
		got, err := gather(t, f.Balancer)
		if err == nil || !strings.Contains(err.Error(), method+" is broken") {
			t.Errorf("%s: %v", method, err)
		}
		if got["weft_lb_stream_targets web"] != 1 {
			t.Errorf("%s: got %v", method, got)
		}
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	f := withFlow(t)
	f.join(1, "web")
	f.wantTable("web", 1)
	metricstest.Documented(t, "weft_lb_", f.Balancer)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(f.Balancer)
	metricstest.Gathered(t, registry)
}
