// SPDX-License-Identifier: Apache-2.0

package liveness_test

import (
	"testing"

	"github.com/weft-project/weft/internal/liveness"
	"github.com/weft-project/weft/internal/metrics/metricstest"
)

func TestMetricsAreDocumented(t *testing.T) {
	metricstest.Documented(t, "weft_forwarder_peer", (*liveness.Liveness)(nil))
}
