// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"testing"

	"github.com/weft-project/weft/internal/liveness"
	"github.com/weft-project/weft/internal/metrics/metricstest"
)

func TestMetricsAreDocumented(t *testing.T) {
	metricstest.Documented(t, "weft_forwarder_", collector{}, (*liveness.Liveness)(nil))
	metricstest.Documented(t, "weft_vlan_", vlanCollector{})
}
