// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
)

// world is everything around an announcer.
type world struct {
	mu        sync.Mutex
	config    balancer.Config
	targets   map[string][]string
	shadow    bool
	changed   chan struct{}
	probe     error
	probes    int
	health    Reason
	refuse    int // so many calls of Publish fail
	published [][]netip.Prefix
	at        []time.Time
	decisions []Decision
}

func (w *world) Snapshot() balancer.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := balancer.Snapshot{Shadow: w.shadow}
	for name, targets := range w.targets {
		s.Streams = append(s.Streams, balancer.StreamState{Name: name, Targets: targets})
	}
	return s
}

func (w *world) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *world) Config() *balancer.Config { return &w.config }

func (w *world) change(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
	close(w.changed)
	w.changed = make(chan struct{})
}

var (
	v4 = netip.MustParsePrefix("20.0.0.1/32")
	v6 = netip.MustParsePrefix("2000::1/128")
	no = netip.MustParsePrefix("20.0.0.2/32")
)

func newWorld() *world {
	return &world{
		changed: make(chan struct{}), targets: map[string][]string{}, health: Announced,
		config: balancer.Config{
			VIPs: []netip.Prefix{v4, v6}, Streams: []balancer.Stream{{Name: "web"}, {Name: "api"}},
			Flows: []balancer.Flow{
				{Stream: "web", Rule: classify.Rule{Name: "web", VIPs: []netip.Prefix{v4, v6}, Protocols: []uint8{classify.TCP}}},
				{Stream: "api", Rule: classify.Rule{Name: "api", VIPs: []netip.Prefix{v4}, Protocols: []uint8{classify.UDP}}},
			},
		},
	}
}

// run starts an announcer in a bubble of synctest.
func (w *world) run(t *testing.T, adopted ...netip.Prefix) *Announcer {
	a := New(Options{
		Balancer: w, Adopted: adopted,
		Probe: func(netip.Prefix) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.probes++
			return w.probe
		},
		Health: func() (Reason, string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.health, "as the test says"
		},
		Publish: func(p []netip.Prefix) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.refuse > 0 {
				w.refuse--
				return errors.New("refused")
			}
			w.published, w.at = append(w.published, p), append(w.at, time.Now())
			return nil
		},
		OnChange: func(d Decision) { w.decisions = append(w.decisions, d) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

func (w *world) last() []netip.Prefix {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.published) == 0 {
		return nil
	}
	return w.published[len(w.published)-1]
}

func (w *world) expect(t *testing.T, a *Announcer, what string, want map[netip.Prefix]Reason) {
	t.Helper()
	synctest.Wait()
	got := map[netip.Prefix]Reason{}
	var announced []netip.Prefix
	for _, d := range a.Decisions() {
		got[d.VIP] = d.Reason
		if d.Announced != (d.Reason == Announced) {
			t.Errorf("%s: %+v", what, d)
		}
		if d.Announced {
			announced = append(announced, d.VIP)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	if !slices.Equal(w.last(), announced) {
		t.Errorf("%s: published %v, decided %v", what, w.last(), announced)
	}
}

func TestTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := w.run(t)
		a.Set([]netip.Prefix{v4, v6, no}, true)
		w.expect(t, a, "at first", map[netip.Prefix]Reason{v4: NoTarget, v6: NoTarget, no: NoFlow})
		start := time.Now()
		w.change(func() { w.targets["api"] = []string{"t"} })
		w.expect(t, a, "a target of one", map[netip.Prefix]Reason{v4: Announced, v6: NoTarget, no: NoFlow})
		w.change(func() { w.targets["web"] = []string{"t"} })
		w.expect(t, a, "a target of both", map[netip.Prefix]Reason{v4: Announced, v6: Announced, no: NoFlow})
		w.change(func() { w.targets["web"] = nil })
		w.expect(t, a, "one less", map[netip.Prefix]Reason{v4: Announced, v6: NoTarget, no: NoFlow})
		w.change(func() { clear(w.targets) })
		w.expect(t, a, "none", map[netip.Prefix]Reason{v4: NoTarget, v6: NoTarget, no: NoFlow})
		w.change(func() { w.targets["web"] = []string{"t"} })
		w.expect(t, a, "again", map[netip.Prefix]Reason{v4: Announced, v6: Announced, no: NoFlow})
		if time.Now() != start {
			t.Errorf("it took %s", time.Since(start))
		}
		n := len(w.published)
		time.Sleep(time.Minute) // of the bubble
		synctest.Wait()
		if len(w.published) != n {
			t.Errorf("published %v without a change", w.published[n:])
		}
		if w.probes < 110 || w.probes > 130 {
			t.Errorf("%d probes of two VIPs in a minute", w.probes)
		}
	})
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.targets["web"], w.probe = []string{"t"}, errors.New("lost")
		a := w.run(t)
		a.Set([]netip.Prefix{v6}, true)
		w.expect(t, a, "a failing probe", map[netip.Prefix]Reason{v6: ProbeFailed})
		w.change(func() { w.probe = nil })
		time.Sleep(DefaultInterval)
		w.expect(t, a, "the first success", map[netip.Prefix]Reason{v6: Announced})

		fail := func(times int) {
			t.Helper()
			w.mu.Lock()
			w.probe = errors.New("lost")
			w.mu.Unlock()
			time.Sleep(DefaultInterval + DefaultInterval/10)
			if times > 1 {
				time.Sleep(DefaultInterval / 5)
			}
			synctest.Wait()
			w.mu.Lock()
			w.probe = nil
			w.mu.Unlock()
		}
		fail(1)
		w.expect(t, a, "one failure", map[netip.Prefix]Reason{v6: Announced})
		time.Sleep(5 * DefaultInterval)
		fail(2)
		w.expect(t, a, "two failures", map[netip.Prefix]Reason{v6: ProbeFailed})
		if d := a.Decisions()[0]; d.Message != "lost" {
			t.Errorf("message %q", d.Message)
		}
		time.Sleep(2 * DefaultInterval)
		w.expect(t, a, "two successes", map[netip.Prefix]Reason{v6: Probing})
		time.Sleep(DefaultInterval)
		w.expect(t, a, "three successes", map[netip.Prefix]Reason{v6: Announced})
	})
}

func TestHealthGatewaysAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.targets["web"] = []string{"t"}
		a := w.run(t)
		a.Set([]netip.Prefix{v6}, true)
		w.expect(t, a, "at first", map[netip.Prefix]Reason{v6: Announced})
		for _, reason := range []Reason{DataPathDown, InterfaceDown} {
			w.mu.Lock()
			w.health = reason
			w.mu.Unlock()
			a.Kick()
			w.expect(t, a, "down", map[netip.Prefix]Reason{v6: reason})
			w.mu.Lock()
			w.health = Announced
			w.mu.Unlock()
			a.Kick()
			w.expect(t, a, "up", map[netip.Prefix]Reason{v6: Announced})
		}
		a.Set([]netip.Prefix{v6}, false)
		w.expect(t, a, "no gateway", map[netip.Prefix]Reason{v6: NoGateway})
		a.Set([]netip.Prefix{v6}, true)
		w.expect(t, a, "a gateway", map[netip.Prefix]Reason{v6: Announced})
		a.Drain()
		w.expect(t, a, "drained", map[netip.Prefix]Reason{v6: Draining})
		a.Set(nil, true)
		w.expect(t, a, "no VIPs", map[netip.Prefix]Reason{})
	})
}

// TestAdopted: what was announced before a restart stays so until the balancer
// has taken over; then it is decided as ever.
func TestAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.shadow = true
		a := w.run(t, v6)
		a.Set([]netip.Prefix{v4, v6}, true)
		w.expect(t, a, "the predecessor works", map[netip.Prefix]Reason{v4: TakingOver, v6: Announced})
		time.Sleep(10 * DefaultInterval)
		if w.probes != 0 {
			t.Errorf("%d probes while the predecessor works", w.probes)
		}
		w.change(func() { w.targets["web"], w.shadow = []string{"t"}, false })
		w.expect(t, a, "taken over", map[netip.Prefix]Reason{v4: Announced, v6: Announced})
		for _, p := range w.published {
			if !slices.Contains(p, v6) {
				t.Errorf("published %v in between", p)
			}
		}
	})
}

func TestRefusedPublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.refuse = 3
		w.targets["web"] = []string{"t"}
		a := w.run(t)
		a.Set([]netip.Prefix{v6}, true)
		time.Sleep(4 * DefaultInterval)
		w.expect(t, a, "after refusals", map[netip.Prefix]Reason{v6: Announced})
	})
}

func TestManyVIPsAreOnePublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var vips []netip.Prefix
		for i := range 100 {
			vips = append(vips, netip.PrefixFrom(netip.AddrFrom4([4]byte{30, 0, 0, byte(i)}), 32))
		}
		w.config.Flows[0].Rule.VIPs = vips
		a := w.run(t)
		a.Set(vips, true)
		synctest.Wait()
		n := len(w.published)
		w.change(func() { w.targets["web"] = []string{"t"} })
		synctest.Wait()
		w.change(func() { clear(w.targets) })
		synctest.Wait()
		if len(w.published) != n+2 || len(w.published[n]) != 100 || len(w.published[n+1]) != 0 {
			t.Errorf("%d publications, want 2 more than %d", len(w.published), n)
		}
	})
}
