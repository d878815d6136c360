// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
)

const (
	soakCycles  = 60  // without WEFT_TEST_CYCLES
	soakWarmup  = 400 // cycles after which pools and caches are full, at most a tenth
	soakAtOnce  = 2   // attachments of each workload that come and go side by side
	soakSamples = 10
)

// sample is what a process holds.
type sample struct {
	rss, heap               float64 // bytes
	goroutines, descriptors int
	bpf                     int // of the descriptors, those of maps, programs and links
}

func (s *soak) sample(p *cluster.Process) sample {
	s.t.Helper()
	metrics, err := p.Metrics(s.ctx)
	must(s.t, err)
	x := sample{
		rss: metrics["process_resident_memory_bytes"], heap: metrics["go_memstats_heap_inuse_bytes"],
		goroutines: int(metrics["go_goroutines"]), descriptors: int(metrics["process_open_fds"]),
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	must(s.t, err)
	for _, entry := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.PID(), entry.Name()))
		if err == nil && strings.HasPrefix(target, "anon_inode:bpf") {
			x.bpf++
		}
	}
	return x
}

// growth says what there is more of than before, beyond what comes and goes.
func (x sample) growth(before sample) (found []string) {
	for _, f := range []struct {
		what         string
		now, was     float64
		slack, grows float64
	}{
		{"bytes of resident memory", x.rss, before.rss, 12 << 20, 1.25},
		{"bytes of heap", x.heap, before.heap, 12 << 20, 1.25},
		{"goroutines", float64(x.goroutines), float64(before.goroutines), 32, 1},
		{"descriptors", float64(x.descriptors), float64(before.descriptors), descriptorSlack, 1},
		{"descriptors of BPF objects", float64(x.bpf), float64(before.bpf), 0, 1},
	} {
		if f.now > f.was*f.grows+f.slack {
			found = append(found, fmt.Sprintf("%.0f %s, %.0f before", f.now, f.what, f.was))
		}
	}
	return found
}

// TestSoakCycles attaches and detaches WEFT_TEST_CYCLES times on three nodes, and
// finds no process, interface, route, pin or map grown.
func TestSoakCycles(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	s := &soak{t: t, stats: map[string]int{}}
	s.start(false)
	for _, n := range s.Nodes {
		s.newWorkload(n)
	}
	n := int(numberFrom(t, "WEFT_TEST_CYCLES", soakCycles))
	warm := min(soakWarmup, n/5)
	s.cycle(warm)
	before, kernel := s.samples(), s.left()
	start := time.Now()
	for i := range soakSamples {
		s.cycle((n - warm) / soakSamples)
		var line []string
		for _, p := range s.components() {
			x := s.sample(p)
			line = append(line, fmt.Sprintf("%s %.1f MiB %d goroutines %d descriptors", p.Name, x.rss/(1<<20), x.goroutines, x.descriptors))
		}
		t.Logf("%d cycles in %s: %s", warm+(i+1)*(n-warm)/soakSamples, time.Since(start).Round(time.Second), strings.Join(line, "; "))
	}
	var grown []string
	testutil.Eventually(t, soakSettle, "nothing to have grown", func() bool {
		grown = s.left().growth(kernel)
		for p, x := range s.samples() {
			for _, what := range x.growth(before[p]) {
				grown = append(grown, p.Name+": "+what)
			}
		}
		if len(grown) > 0 {
			t.Log(grown)
		}
		return len(grown) == 0
	})
}

// components are the processes of ours: not the workloads.
func (s *soak) components() (all []*cluster.Process) {
	for _, n := range s.Nodes {
		for _, component := range []string{cluster.Registry, cluster.Manager, cluster.Forwarder, cluster.Agent} {
			if p := n.Processes[component]; p != nil {
				all = append(all, p)
			}
		}
	}
	for _, r := range s.replicas {
		all = append(all, r.Process)
	}
	return all
}

func (s *soak) samples() map[*cluster.Process]sample {
	s.t.Helper()
	all := map[*cluster.Process]sample{}
	for _, p := range s.components() {
		all[p] = s.sample(p)
	}
	return all
}

// cycle attaches and detaches n times, on all nodes and side by side.
func (s *soak) cycle(n int) {
	s.t.Helper()
	lanes := len(s.workloads) * soakAtOnce
	done := make(chan error, lanes)
	for i := range lanes {
		w, iface := s.workloads[i/soakAtOnce], fmt.Sprintf("cycle-%d", i%soakAtOnce)
		turns := (n + lanes - 1 - i) / lanes
		go func() {
			var err error
			for turn := 0; turn < turns && err == nil; turn++ {
				if _, err = w.Attach(s.ctx, "lb.trench-a", iface, "web"); err == nil {
					err = w.Detach(s.ctx, iface)
				}
			}
			done <- err
		}()
	}
	var errs []error
	for range lanes {
		errs = append(errs, <-done)
	}
	must(s.t, errors.Join(errs...))
}

// left counts what attachments leave in the kernel: interfaces, addresses, routes
// and rules of every namespace, pins, and what the programs' maps hold.
func (s *soak) left() kernelState {
	s.t.Helper()
	found := kernelState{}
	count := func(name, path string) {
		withHandle(s.t, path, func(h *nl.Handle) {
			links, err := h.Links()
			must(s.t, err)
			found[name+" links"] = len(links)
			for _, l := range links {
				addresses, err := h.Addresses(l.Index)
				must(s.t, err)
				found[name+" addresses"] += len(addresses)
			}
			found[name+" routes and rules"] = len(routing(s.t, h))
		})
	}
	for _, n := range s.Nodes {
		count(n.Name, n.NetNS)
		pins, err := filepath.Glob(filepath.Join(n.PinDir(), "*"))
		must(s.t, err)
		found[n.Name+" pins"] = len(pins)
		metrics, err := n.Processes[cluster.Forwarder].Metrics(s.ctx)
		must(s.t, err)
		for name, value := range metrics {
			if strings.HasPrefix(name, "weft_forwarder_interfaces") || strings.HasPrefix(name, "weft_forwarder_legs") ||
				strings.HasPrefix(name, "weft_forwarder_peer_tunnels") {
				found[n.Name+" "+name] = int(value)
			}
		}
	}
	for _, r := range s.replicas {
		count(r.Name, r.NetNS)
	}
	for _, w := range s.workloads {
		count(w.Name, w.NetNS)
	}
	return found
}

// empty detaches everything and finds nothing left of it.
func (s *soak) empty() {
	s.t.Helper()
	s.note("end", "")
	s.steady.Stop()
	for _, w := range s.workloads {
		for iface := range w.wanted {
			check(s.t, w.Detach(s.ctx, iface))
		}
		clear(w.wanted)
	}
	s.settled(0)
	left := s.left()
	for what, n := range left {
		if n > 0 && strings.Contains(what, "weft_forwarder_") {
			s.t.Errorf("everything is detached, and %s is %d", what, n)
		}
	}
}
