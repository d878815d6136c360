// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
)

// BenchmarkAttach times 200 attachments through client, nsmgr, forwarder and
// endpoint, over plain connections, and reports percentiles. One iteration is
// one run of 200; -benchtime 1x is enough.
func BenchmarkAttach(b *testing.B) {
	const cycles, warm = 200, 10
	w := newWorld(b)
	w.endpoint("nse-1", "10.9.0.0/16")
	workload := testutil.NetNS(b)
	c := w.client("nsc")
	var attach, refresh, detach []time.Duration
	for b.Loop() {
		for i := range warm + cycles {
			t0 := time.Now()
			conn := request(b, c, ask(fmt.Sprintf("c%d", i), workload, "nsm-1"))
			t1 := time.Now()
			conn = request(b, c, ask(conn.GetId(), workload, "nsm-1"))
			t2 := time.Now()
			closeConn(b, c, conn)
			t3 := time.Now()
			if i >= warm {
				attach, refresh, detach = append(attach, t1.Sub(t0)), append(refresh, t2.Sub(t1)), append(detach, t3.Sub(t2))
			}
		}
	}
	for _, m := range []struct {
		name    string
		samples []time.Duration
	}{{"attach", attach}, {"refresh", refresh}, {"detach", detach}} {
		slices.Sort(m.samples)
		for _, percent := range []int{50, 99} {
			at := m.samples[len(m.samples)*percent/100]
			b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("ms-%s-p%d", m.name, percent))
		}
	}
	b.ReportMetric(0, "ns/op")
}
