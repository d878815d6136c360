// SPDX-License-Identifier: Apache-2.0

package balancer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

// inForceLimit is how long a change may take with a thousand targets, from the
// request to the new table in force.
const inForceLimit = 25 * time.Millisecond

// manyWeights is how many different weights the targets have.
const manyWeights = 100

// numbered is target i of many.
func numbered(i int) balancer.Target {
	t := target(i)
	t.MAC[4], t.LegMAC[4] = byte(i>>8), byte(i>>8)
	return t
}

// BenchmarkThousand measures requests to a stream of 1,000 targets on the real
// data plane, with the default table size: from the request to the new table in
// force, mean and maximum. Half of the targets have weights.
func BenchmarkThousand(b *testing.B) {
	const n = 1000
	r := newReplica(b)
	config := r.router.Config(1)
	config.Streams[0].MaxTargets = n
	r.must(r.SetConfig(b.Context(), config))
	h := testutil.Handle(b, r.netNS)
	ns := testutil.NetNS(b)
	for i := range n {
		wish := numbered(i)
		if i%2 == 0 {
			weight := uint16(1 + i%manyWeights)
			wish.Weight = &weight
		}
		r.must(r.Register(b.Context(), wish))
		_, _, err := h.AddVeth(nl.Veth{Name: wish.Interface, PeerName: fmt.Sprintf("w%d", i), PeerNetNS: ns, PeerUp: true})
		r.must(err)
	}
	r.must(r.Wait(b.Context(), func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == n }))
	last := numbered(n - 1)
	heavy, draining := last, last
	weight := uint16(7)
	heavy.Weight, draining.Draining = &weight, true
	steps := []struct {
		name string
		do   func() error
	}{
		{"weight", func() error { return r.Register(b.Context(), heavy) }},
		{"drain", func() error { return r.Register(b.Context(), draining) }},
		{"undrain", func() error { return r.Register(b.Context(), last) }},
		{"leave", func() error { return r.Unregister(b.Context(), last.Connection) }},
		{"join", func() error { return r.Register(b.Context(), last) }},
	}
	sum, most := make([]time.Duration, len(steps)), make([]time.Duration, len(steps))
	for b.Loop() {
		for i, step := range steps {
			start := time.Now()
			r.must(step.do())
			took := time.Since(start)
			sum[i], most[i] = sum[i]+took, max(most[i], took)
			want := n
			if step.name == "drain" || step.name == "leave" {
				want--
			}
			if got := len(r.Snapshot().Stream("web").Targets); got != want {
				b.Fatalf("%s: %d targets in the table, want %d", step.name, got, want)
			}
		}
	}
	for i, step := range steps {
		mean := sum[i] / time.Duration(b.N)
		b.ReportMetric(float64(mean.Microseconds())/1000, "ms/"+step.name)
		b.ReportMetric(float64(most[i].Microseconds())/1000, "ms-max/"+step.name)
		if mean > inForceLimit {
			b.Errorf("%s takes %v, more than %v", step.name, mean, inForceLimit)
		}
	}
	b.ReportMetric(0, "ns/op")
}
