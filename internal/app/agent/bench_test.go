// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// BenchmarkAttach measures a workload's Attach until Ready and its Detach, over
// the workload socket, agent, nsmgr, forwarder and one load balancer, by plain
// connections. It also reports what grows: run it with -benchtime 1000x.
func BenchmarkAttach(b *testing.B) {
	m := newMachine(b)
	m.addReplica()
	client := agentv1.NewAgentClient(m.workload())
	cycle := func() (attach, detach time.Duration) {
		began := time.Now()
		if _, err := client.Attach(b.Context(), attachRequest("a", "web")); err != nil {
			b.Fatal(err)
		}
		attached := time.Now()
		if _, err := client.Detach(b.Context(), &agentv1.DetachRequest{Name: "a"}); err != nil {
			b.Fatal(err)
		}
		return attached.Sub(began), time.Since(attached)
	}
	for range 20 { // connections and caches
		cycle()
	}
	goroutines, descriptors, heap := held(b)
	var attaches, detaches []time.Duration
	for b.Loop() {
		attach, detach := cycle()
		attaches, detaches = append(attaches, attach), append(detaches, detach)
	}
	goroutinesNow, descriptorsNow, heapNow := held(b)
	b.ReportMetric(0, "ns/op") // says less than what follows
	for name, durations := range map[string][]time.Duration{"attach": attaches, "detach": detaches} {
		slices.Sort(durations)
		b.ReportMetric(milliseconds(durations[len(durations)/2]), name+"-p50-ms")
		b.ReportMetric(milliseconds(durations[len(durations)*99/100]), name+"-p99-ms")
	}
	b.ReportMetric(float64(goroutinesNow-goroutines), "more-goroutines")
	b.ReportMetric(float64(descriptorsNow-descriptors), "more-descriptors")
	b.ReportMetric(float64(heapNow-heap)/float64(b.N), "heap-B/cycle")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// held returns what the process has.
func held(b *testing.B) (goroutines, descriptors int, heap int64) {
	b.Helper()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	return runtime.NumGoroutine(), len(entries), int64(stats.HeapAlloc)
}
