// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/metrics/metricstest"
)

func TestMetricsAreDocumented(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	metricstest.Documented(t, "weft_lb_", f.Balancer)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(f.Balancer); err != nil {
		t.Fatal(err)
	}
	metricstest.Gathered(t, registry)
}
