// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	soakSmoke = 15 * time.Second // without WEFT_TEST_SOAK
	// soakSmokeSeed is of the short form, which shows that the soak itself works
	// and is to do the same each time.
	soakSmokeSeed = 1795550893278243244

	soakRate   = 500 // numbered requests per second
	soakFlows  = 64
	soakSettle = 60 * time.Second // until everything has to be right again
	soakWindow = time.Second      // in which nothing may be lost then
	soakDrops  = 20 * time.Second // until no cross-connect may drop a frame any more
)

// soak is a cluster to which random things happen, and what is wanted of it.
type soak struct {
	t *testing.T
	*cluster.Cluster
	ctx      context.Context
	seed     uint64
	site     *cluster.Site
	replicas []*cluster.Replica
	steady   *traffic.Steady
	nodes    []*nodeView
	traces   []*replicaView

	mu        sync.Mutex // guards what follows; the watch reads it, operations write
	workloads []*soakWorkload
	born      int
	extra     string   // stream of the flow that comes and goes; "": no flow
	history   []string // of the round
	stats     map[string]int
}

// TestSoak does random operations on a cluster with traffic while random faults
// happen, round by round, and checks the invariants after each, and all the time
// that no address is on two interfaces.
func TestSoak(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	s := newSoak(t)
	end := time.Now().Add(durationFrom(t, "WEFT_TEST_SOAK", soakSmoke))
	s.settled(0)
	stopWatch := s.watch()
	rounds, slowest := 0, time.Duration(0)
	for time.Now().Before(end) && !t.Failed() {
		rounds++
		s.round(uint64(rounds))
		slowest = max(slowest, s.settled(uint64(rounds)))
		if rounds%50 == 0 {
			t.Logf("%d rounds, settled within %s: %v", rounds, slowest, s.stats)
		}
	}
	stopWatch()
	if !t.Failed() {
		s.empty()
	}
	t.Logf("%d rounds, settled within %s: %v", rounds, slowest.Round(time.Millisecond), s.stats)
}

func durationFrom(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return d
}

func numberFrom(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// newSoak starts three nodes with two load balancers, one of which outlives its
// process, and a workload on each node.
func newSoak(t *testing.T) *soak {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if os.Getenv("WEFT_TEST_SOAK") == "" {
		seed = soakSmokeSeed
	}
	s := &soak{t: t, seed: numberFrom(t, "WEFT_TEST_SEED", seed), stats: map[string]int{}}
	t.Logf("WEFT_TEST_SEED=%d; another one is taken with WEFT_TEST_SEED=$(date +%%s%%N) or WEFT_TEST_SOAK=15s", s.seed)
	s.start(true)
	for _, n := range s.Nodes {
		s.newWorkload(n)
	}
	var err error
	for _, w := range s.workloads {
		must(t, s.attach(w, nic, "web"))
	}
	must(t, s.site.Await(s.ctx, destinations(webPort), s.servers()...))
	s.steady, err = traffic.StartSteady(traffic.SteadyConfig{
		To: destinations(webPort), Flows: soakFlows, Rate: soakRate, Dial: s.site.Dial(),
	})
	must(t, err)
	t.Cleanup(s.steady.Stop)
	return s
}

// start makes the cluster; pinned has the first load balancer outlive its
// process.
func (s *soak) start(pinned bool) {
	t := s.t
	t.Helper()
	testutil.CheckLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s.ctx = ctx
	var err error
	s.Cluster, err = cluster.New(cluster.Options{
		Prefix: testutil.RandomName("ws") + "-", Binary: weftBinary(t), Manifests: examples.Demo, Nodes: 3, Metrics: true,
	})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			s.WriteLogs(os.Stderr, 200)
		}
		check(t, s.Close())
	})
	s.site, err = cluster.NewSite(s.Namespaces, "a", 1)
	must(t, err)
	for i := range 2 {
		number := byte(i + 1)
		r, err := s.Nodes[i].AddReplica(fmt.Sprintf("lb-%d", number), cluster.ReplicaOptions{
			Trench: "trench-a", Conduit: "lb", Site: s.site, Number: number, TableSize: tableSize, Pinned: pinned && i == 0,
		})
		must(t, err)
		s.replicas = append(s.replicas, r)
	}
	must(t, s.Start(s.ctx))
	must(t, s.site.Route(vips, 1, 2))
	s.connect()
}

// round does operations and has faults happen at the same time, all of them
// chosen by the seed and the number of the round.
func (s *soak) round(number uint64) {
	s.mu.Lock()
	s.history = nil
	s.mu.Unlock()
	random := func(lane uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, number*8+lane)) }
	var lanes sync.WaitGroup
	lanes.Go(func() { s.operations(random(0)) })
	lanes.Go(func() { s.processFaults(random(1)) })
	lanes.Go(func() { s.networkFaults(random(2)) })
	lanes.Wait()
}

// note writes down what happens, for the case that it ends badly.
func (s *soak) note(kind, format string, args ...any) {
	line := time.Now().Format("15:04:05.000 ") + kind + " " + fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.history = append(s.history, line)
	s.stats[kind]++
	s.mu.Unlock()
}

// settled waits until every invariant holds, and returns how long that took.
func (s *soak) settled(round uint64) time.Duration {
	s.t.Helper()
	start := time.Now()
	var problems []string
	for time.Since(start) < soakSettle {
		if problems = s.problems(); len(problems) == 0 {
			took := time.Since(start)
			s.calm(round)
			return took
		}
		pause(100 * time.Millisecond)
	}
	problems = append(problems, s.checks()...) // what the nodes themselves think of it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("WEFT_TEST_SEED=%d round %d: not right after %s:\n%s\nwhat was done:\n%s", s.seed, round, soakSettle,
		strings.Join(problems, "\n"), strings.Join(s.history, "\n"))
	return 0
}

// pause is between two looks, and how long a fault lasts.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// calm fails when something is lost though nothing happens, or when drops of the
// cross-connects, which are normal for a moment after a leg has ended, do not.
func (s *soak) calm(round uint64) {
	s.t.Helper()
	var found []string
	for start := time.Now(); time.Since(start) < soakDrops; {
		if found = s.calmWindow(); len(found) == 0 {
			return
		}
		if strings.Contains(found[0], "lost") {
			break
		}
		s.note("drops", "%v", found)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Errorf("WEFT_TEST_SEED=%d round %d: in a calm second %s; what was done before:\n%s", s.seed, round,
		strings.Join(found, ", "), strings.Join(s.history, "\n"))
}

// calmWindow says what is lost, and dropped, while nothing happens.
func (s *soak) calmWindow() (found []string) {
	s.t.Helper()
	before := s.drops()
	from := s.steady.Mark()
	pause(soakWindow)
	to := s.steady.Mark()
	if w := s.steady.Between(from, to); w.Lost > 0 && len(s.servers()) > 0 {
		found = append(found, fmt.Sprintf("%d of %d packets lost", w.Lost, w.Sent))
	}
	for name, n := range s.drops() {
		if n > before[name] {
			found = append(found, fmt.Sprintf("%s grew by %.0f", name, n-before[name]))
		}
	}
	s.steady.Forget(to)
	return found
}
