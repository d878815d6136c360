// SPDX-License-Identifier: Apache-2.0

package metricstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// recorder is a test that is expected to fail.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, _ ...any) { r.failures = append(r.failures, format) }

// Every documented metric belongs to a component whose tests check it.
func TestPrefixes(t *testing.T) {
	rows := Rows(t)
	if len(rows) < 10 {
		t.Errorf("only %d metrics are documented", len(rows))
	}
	for name := range rows {
		if !slices.ContainsFunc([]string{"weft_lb_", "weft_agent_", "weft_forwarder_", "weft_frontend_", "weft_bgp_", "weft_bfd_", "weft_vlan_"},
			func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			t.Errorf("no test checks %s", name)
		}
	}
}

// The checks find what is wrong.
func TestChecksFail(t *testing.T) {
	gauge := func(name, help string, labels ...string) prometheus.Collector {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	for what, c := range map[string]prometheus.Collector{
		"not documented": gauge("weft_none_x", "X."),
		"help":           gauge("weft_agent_legs", "X."),
		"labels":         gauge("weft_agent_legs", Rows(t)["weft_agent_legs"].Help, "x"),
	} {
		r := &recorder{TB: t}
		if Documented(r, "weft_none_", c); len(r.failures) == 0 {
			t.Errorf("%s: nothing is found", what)
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		c.(*prometheus.GaugeVec).WithLabelValues(make([]string, strings.Count(what, "labels"))...).Set(1)
		r = &recorder{TB: t}
		if Gathered(r, registry); len(r.failures) == 0 {
			t.Errorf("%s: nothing is found in what was gathered", what)
		}
	}
	r := &recorder{TB: t}
	if Documented(r, "weft_agent_", gauge("weft_agent_legs", Rows(t)["weft_agent_legs"].Help)); len(r.failures) != 1 {
		t.Errorf("a documented metric that is gone: %q", r.failures)
	}
}
