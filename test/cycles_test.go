// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const (
	cycles = 1000
	atOnce = 4 // attachments of one workload that come and go side by side
	// Pools keep what was needed at once, and caches fill: far below one of
	// anything for each cycle.
	heapSlack   = 12 << 20 // bytes
	socketSlack = 16
)

// census counts what grows when something is not given back. Descriptors are by
// kind, so that BPF maps, programs and links are among them.
type census struct {
	goroutines  int
	descriptors map[string]int
	links       int
	heap        uint64
}

func (s *stack) census(w *workload) census {
	s.t.Helper()
	c := census{goroutines: runtime.NumGoroutine(), descriptors: map[string]int{}}
	entries, err := os.ReadDir("/proc/self/fd")
	must(s.t, err)
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			c.descriptors[kind]++
		}
	}
	for _, path := range []string{s.host, w.netns, s.replicas[0].netns, s.replicas[1].netns} {
		c.links += len(linksOf(s.t, path))
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the second frees what finalizers of the first let go
	runtime.ReadMemStats(&m)
	c.heap = m.HeapAlloc
	return c
}

// growth names what c has more of than before.
func (c census) growth(before census) (found []string) {
	// A pooled connection may have one.
	if c.goroutines > before.goroutines+socketSlack {
		found = append(found, fmt.Sprintf("%d goroutines, %d before", c.goroutines, before.goroutines))
	}
	for kind, n := range c.descriptors {
		slack := 0
		if kind == "socket" {
			slack = socketSlack
		}
		if n > before.descriptors[kind]+slack {
			found = append(found, fmt.Sprintf("%d descriptors %s, %d before", n, kind, before.descriptors[kind]))
		}
	}
	if c.links > before.links {
		found = append(found, fmt.Sprintf("%d links, %d before", c.links, before.links))
	}
	if c.heap > before.heap+heapSlack {
		found = append(found, fmt.Sprintf("heap of %d KiB, %d KiB before", c.heap>>10, before.heap>>10))
	}
	return found
}

// TestCycles attaches and detaches 1,000 times and finds nothing grown.
func TestCycles(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	w := s.addWorkload("w1")
	w.cycle(t, 100) // what is made once, is made now
	before := s.census(w)
	n := cycles
	if testing.Short() {
		n /= 5
	}
	w.cycle(t, n)
	var grown []string
	testutil.Eventually(t, patience, "nothing to have grown", func() bool {
		if grown = s.census(w).growth(before); len(grown) > 0 {
			t.Log(grown)
		}
		return len(grown) == 0
	})
	t.Logf("heap %d KiB before, %d KiB after %d cycles", before.heap>>10, s.census(w).heap>>10, n)
	w.attach("trench-a", "web")
	s.awaitTargets("trench-a", "web", w)
	o.reach(webPort, w)
}

// cycle attaches and detaches n times, several at once.
func (w *workload) cycle(t *testing.T, n int) {
	t.Helper()
	done := make(chan error, atOnce)
	for i := range atOnce {
		go func() {
			var err error
			for turn := 0; turn < n/atOnce && err == nil; turn++ {
				err = w.once(t, fmt.Sprintf("cycle-%d", i))
			}
			done <- err
		}()
	}
	var errs []error
	for range atOnce {
		errs = append(errs, <-done)
	}
	must(t, errors.Join(errs...))
}

func (w *workload) once(t *testing.T, name string) error {
	_, err := w.agent.Attach(t.Context(), &agentv1.AttachRequest{Wait: true, Spec: &agentv1.AttachmentSpec{
		Name: name, NetworkService: "lb.trench-a", Interface: name, Streams: []string{"web"},
	}})
	if err != nil {
		return err
	}
	_, err = w.agent.Detach(t.Context(), &agentv1.DetachRequest{Name: name})
	return err
}
