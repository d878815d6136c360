// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// heir is a data plane that has found a predecessor with the reply program on
// some links.
type heir struct {
	*fakePlane
	legs  []int
	works bool
	fail  error
	taken []time.Time // calls of TakeOver
}

func (h *heir) Predecessor() ([]int, bool, error) { return h.legs, h.works, nil }

func (h *heir) TakeOver() error {
	h.set(func() { h.taken = append(h.taken, time.Now()) })
	return h.fail
}

func (h *heir) calls() (n int) {
	h.set(func() { n = len(h.taken) })
	return n
}

// succeed starts a balancer in a bubble, behind a predecessor with targets 1 to n
// whose links work.
func succeed(t *testing.T, n int, change func(*heir), test func(f *fixture, h *heir)) {
	synctest.Test(t, func(t *testing.T) {
		h := &heir{fakePlane: newFakePlane(t), works: true}
		for i := range n {
			h.legs = append(h.legs, 101+i)
		}
		if change != nil {
			change(h)
		}
		f := &fixture{t: t, plane: h.fakePlane, links: &fakeLinks{}}
		var err error
		f.Balancer, err = New(h, f.links, Limits{Streams: 4, Targets: 200, Flows: 4, TableSize: testSize},
			slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i := range n {
			f.links.event(101+i, func(nl.Link) nl.LinkEvent {
				return nl.LinkEvent{Link: nl.Link{Name: ifname(i + 1), Kind: "veth", Up: true, Carrier: true}}
			})
		}
		synctest.Wait()
		if err := f.SetConfig(t.Context(), Config{Streams: []Stream{{Name: "web"}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // the mesh is away
		if h.works {
			f.wantShadow(h, true)
		}
		f.Succeed(3 * time.Second)
		test(f, h)
	})
}

func (f *fixture) wantShadow(h *heir, shadow bool) {
	f.t.Helper()
	synctest.Wait()
	if f.Snapshot().Shadow != shadow || (h.calls() == 0) != shadow {
		f.t.Fatalf("in the shadow: %t, want %t; %d attempts to take over", f.Snapshot().Shadow, shadow, h.calls())
	}
}

func TestTakeOverWhenAllAreBack(t *testing.T) {
	succeed(t, 3, nil, func(f *fixture, h *heir) {
		for i := range 3 {
			f.wantShadow(h, true)
			f.register(wish(i+1, "web"))
		}
		f.wantShadow(h, false)
		f.wantTable("web", 1, 2, 3)
	})
}

// A table that is not in force yet is waited for.
func TestTakeOverWithTables(t *testing.T) {
	succeed(t, 1, nil, func(f *fixture, h *heir) {
		hold := make(chan struct{})
		f.plane.set(func() { f.plane.hold = hold })
		go func() { _ = f.Register(f.t.Context(), wish(1, "web")) }()
		f.wantShadow(h, true)
		close(hold)
		f.wantShadow(h, false)
	})
}

func TestTakeOverAfterGrace(t *testing.T) {
	succeed(t, 2, nil, func(f *fixture, h *heir) {
		begin := time.Now()
		f.register(wish(1, "web"))
		time.Sleep(3*time.Second - time.Millisecond)
		f.wantShadow(h, true)
		time.Sleep(time.Millisecond)
		f.wantShadow(h, false)
		f.wantTable("web", 1)
		if wait := h.taken[0].Sub(begin); wait != 3*time.Second {
			t.Errorf("after %v", wait)
		}
	})
}

// A leg that is lost is not waited for, and those that are left not for long.
func TestTakeOverWithLosses(t *testing.T) {
	for name, lose := range map[string]func(*fakeLinks){
		"gone":    func(l *fakeLinks) { l.remove(103) },
		"carrier": func(l *fakeLinks) { l.carrier(103, false) },
	} {
		t.Run(name, func(t *testing.T) {
			succeed(t, 3, nil, func(f *fixture, h *heir) {
				f.register(wish(1, "web"))
				lose(f.links)
				f.wantShadow(h, true)
				f.register(wish(2, "web"))
				f.wantShadow(h, false)
			})
			succeed(t, 3, nil, func(f *fixture, h *heir) {
				f.register(wish(1, "web"))
				lose(f.links)
				time.Sleep(LossGrace - time.Millisecond)
				f.wantShadow(h, true)
				time.Sleep(time.Millisecond)
				f.wantShadow(h, false)
			})
		})
	}
}

// Links that did not work before are nobody's loss.
func TestTakeOverFromNobody(t *testing.T) {
	succeed(t, 0, nil, func(f *fixture, h *heir) { f.wantShadow(h, false) })
	succeed(t, 0, func(h *heir) { h.works = false }, func(f *fixture, h *heir) {
		synctest.Wait()
		if f.Snapshot().Shadow || h.calls() != 0 {
			t.Error("in the shadow of nobody")
		}
	})
}

func TestTakeOverAgain(t *testing.T) {
	succeed(t, 0, func(h *heir) { h.fail = errors.New("injected") }, func(f *fixture, h *heir) {
		time.Sleep(10*takeOverPause + takeOverPause/2)
		synctest.Wait()
		if n := h.calls(); n < 10 || n > 11 || !f.Snapshot().Shadow {
			t.Errorf("%d attempts", n)
		}
		h.set(func() { h.fail = nil })
		time.Sleep(takeOverPause)
		synctest.Wait()
		if f.Snapshot().Shadow {
			t.Error("never took over")
		}
	})
}

// One that is abandoned leaves links, programs and tables as they are.
func TestAbandon(t *testing.T) {
	f := start(t, Stream{Name: "web"})
	f.join(1, "web")
	f.wantTable("web", 1)
	f.Abandon()
	f.Abandon()
	f.Close()
	f.wantPrograms(101)
	if !f.links.links[101].Up || len(f.plane.table(f.Balancer, "web")) != 1 {
		t.Errorf("link %+v", f.links.links[101])
	}
	if err := f.Register(t.Context(), wish(2, "web")); !errors.Is(err, ErrClosed) {
		t.Errorf("register: %v", err)
	}
}
