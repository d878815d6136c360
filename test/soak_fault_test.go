// SPDX-License-Identifier: Apache-2.0

package test

import (
	"math/rand/v2"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/nl"
)

// upTo is a random time.
func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// processFaults has none, one or two faults of processes happen.
func (s *soak) processFaults(random *rand.Rand) {
	for range random.IntN(3) {
		pause(upTo(random, time.Second))
		some := s.some(random)
		names := make([]string, 0, len(some))
		for _, p := range some {
			names = append(names, p.Name)
		}
		long := upTo(random, 2*time.Second)
		switch random.IntN(4) {
		case 0, 1:
			s.note("kill", "of %v for %s", names, long)
			check(s.t, cluster.Kill(some...))
			pause(long)
			check(s.t, cluster.Restart(s.ctx, some...))
		case 2:
			s.note("pause", "of %v for %s", names, 2*long)
			for _, p := range some {
				check(s.t, p.Pause())
			}
			pause(2 * long)
			for _, p := range some {
				check(s.t, p.Resume())
			}
		default:
			s.note("restart", "of %v", names)
			for _, p := range some {
				check(s.t, p.Stop())
				check(s.t, p.Start(s.ctx))
			}
		}
		s.note("back", "are %v", names)
	}
}

// some is one process, a node's, or one component of every node.
func (s *soak) some(random *rand.Rand) []*cluster.Process {
	components := []string{cluster.Forwarder, cluster.Forwarder, cluster.Agent, cluster.Manager, cluster.Registry}
	component := components[random.IntN(len(components))]
	switch random.IntN(6) {
	case 0:
		return []*cluster.Process{s.replicas[random.IntN(len(s.replicas))].Process}
	case 1:
		return s.Nodes[random.IntN(len(s.Nodes))].Running()
	case 2:
		return s.on(component)
	default:
		if component == cluster.Registry {
			return s.on(component)
		}
		return []*cluster.Process{s.Nodes[random.IntN(len(s.Nodes))].Processes[component]}
	}
}

func (s *soak) on(component string) (all []*cluster.Process) {
	for _, n := range s.Nodes {
		if p := n.Processes[component]; p != nil {
			all = append(all, p)
		}
	}
	return all
}

// networkFaults cuts something off in two of three rounds.
func (s *soak) networkFaults(random *rand.Rand) {
	pause(upTo(random, time.Second))
	first := random.IntN(len(s.Nodes))
	a, b := s.Nodes[first], s.Nodes[(first+1)%len(s.Nodes)]
	long := upTo(random, 4*time.Second)
	switch random.IntN(6) {
	case 0, 1:
		s.note("link", "of %s is down for %s", a.Name, long)
		check(s.t, a.LinkDown())
		pause(long)
		check(s.t, a.LinkUp())
	case 2:
		s.note("partition", "of %s and %s for %s", a.Name, b.Name, long)
		check(s.t, s.Partition(a, b))
		pause(long)
		check(s.t, s.Heal(a, b))
	case 3:
		s.workloadLink(random)
	default:
		return
	}
	s.note("back", "is the network")
}

// workloadLink takes a workload's interface down for a while, if it has one.
func (s *soak) workloadLink(random *rand.Rand) {
	s.mu.Lock()
	w := s.workloads[random.IntN(len(s.workloads))]
	s.mu.Unlock()
	s.note("interface", "%s of %s is down", nic, w.Name)
	set := func(fn func(h *nl.Handle, index int) error) {
		// The interface, or the whole namespace, may come or go meanwhile.
		_ = nl.Do(w.NetNS, func(h *nl.Handle) error {
			link, err := h.LinkByName(nic)
			if err != nil {
				return err
			}
			return fn(h, link.Index)
		})
	}
	set(func(h *nl.Handle, index int) error { return h.SetDown(index) })
	pause(upTo(random, time.Second))
	set(func(h *nl.Handle, index int) error { return h.SetUp(index) })
}
