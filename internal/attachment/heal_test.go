// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/attachment"
)

var errAway = errors.New("connection refused")

// fleet attaches n workloads.
func (w *world) fleet(n int) {
	for i := range n {
		s := spec(fmt.Sprintf("w-%d", i), "web")
		s.NetNS = namespace(uint64(i + 1))
		w.mustAttach(s, time.Minute)
	}
}

func (w *world) up() int {
	n := 0
	for _, a := range w.List(attachment.Filter{}) {
		if a.Condition(attachment.Ready).Reason == attachment.ReasonAllLegs && a.Status.LastError == "" {
			n++
		}
	}
	return n
}

// TestManyLegsComeBackWithinASecond: after hours without their endpoint, which
// cost few requests, all stand again within a second.
func TestManyLegsComeBackWithinASecond(t *testing.T) {
	const legs = 1000
	for _, outage := range []time.Duration{3 * time.Second, 3 * time.Hour} {
		in(t, func(t *testing.T, w *world) {
			e := w.mesh.add("lb.trench-a", "lb-1", "web")
			w.fleet(legs)
			w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errAway })
			w.mesh.lose(e, attachment.ErrLost)
			time.Sleep(outage)
			before, _ := w.mesh.count(e)
			time.Sleep(time.Minute)
			after, _ := w.mesh.count(e)
			if rate := float64(after-before) / 60; rate > 150 {
				t.Errorf("%.0f requests a second after %s", rate, outage)
			}
			w.mesh.with(e, func(e *fakeEndpoint) { e.fail = nil })
			time.Sleep(time.Second)
			if n := w.up(); n != legs {
				t.Errorf("%d of %d stand a second after an outage of %s", n, legs, outage)
			}
		})
	}
}

// TestOneLegComesBackWithinASecond: after any time.
func TestOneLegComesBackWithinASecond(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.fleet(1)
		for _, outage := range []time.Duration{10 * time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
			w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errAway })
			w.mesh.lose(e, attachment.ErrLost)
			time.Sleep(outage)
			w.mesh.with(e, func(e *fakeEndpoint) { e.fail = nil })
			time.Sleep(time.Second)
			if w.up() != 1 {
				t.Errorf("it does not stand a second after an outage of %s", outage)
			}
		}
	})
}

// TestMeshBack: the mesh's word spares the pause.
func TestMeshBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.fleet(100)
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = errAway })
		w.mesh.lose(e, attachment.ErrLost)
		time.Sleep(time.Minute)
		w.mesh.with(e, func(e *fakeEndpoint) { e.fail = nil })
		w.mesh.back <- struct{}{}
		time.Sleep(200 * time.Millisecond)
		if n := w.up(); n != 100 {
			t.Errorf("%d stand", n)
		}
	})
}

// TestHangingEndpointDelaysNoOther: its requests take only its own slots.
func TestHangingEndpointDelaysNoOther(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.options.Parallel = 1
		w.restart()
		hangs := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.add("lb.trench-a", "lb-2", "web")
		w.mesh.with(hangs, func(e *fakeEndpoint) { e.hang = make(chan struct{}) })
		for i := range 3 {
			s := spec(fmt.Sprintf("w-%d", i), "web")
			s.NetNS = namespace(uint64(i + 1))
			w.mustAttach(s, 0)
		}
		synctest.Wait()
		for _, a := range w.List(attachment.Filter{}) {
			if leg := a.Status.Legs[1]; leg.Endpoint != "lb-2" || leg.State != attachment.Up {
				t.Errorf("%s: leg %+v", a.Spec.Name, leg)
			}
		}
		close(hangs.hang)
	})
}

// TestClockThatIsBehind: an answer whose tokens have expired by our clock is
// refreshed, but not without a pause.
func TestClockThatIsBehind(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.lifetime = -time.Hour
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.fleet(1)
		time.Sleep(10 * time.Second)
		if requests, _ := w.mesh.count(e); requests < 5 || requests > 12 {
			t.Errorf("%d requests in ten seconds", requests)
		}
		if w.up() != 1 {
			t.Error("the leg does not stand")
		}
	})
}

// TestFullDiskOfTheState: what stands goes on and says so, what is to go goes,
// and when there is space all is stored.
func TestFullDiskOfTheState(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		store := &breakableStore{Store: w.options.Store}
		w.options.Store = store
		w.restart()
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.fleet(2)
		store.full.Store(true)
		w.mesh.add("lb.trench-a", "lb-2", "web")
		synctest.Wait()
		a := w.get("w-0")
		ready := a.Condition(attachment.Ready)
		if ready.Status != attachment.True || !strings.Contains(ready.Message, "2 of 2 legs stand; not stored") ||
			!strings.Contains(a.Status.LastError, errFull.Error()) {
			t.Errorf("ready %+v, last error %q", ready, a.Status.LastError)
		}
		if err := w.Detach(t.Context(), "w-1", attachment.Scope{}); err != nil {
			t.Errorf("detach: %v", err)
		}
		store.full.Store(false)
		time.Sleep(2 * time.Second)
		if a := w.get("w-0"); a.Status.LastError != "" || strings.Contains(a.Condition(attachment.Ready).Message, "stored") {
			t.Errorf("with space: %+v", a.Status)
		}
		records, err := store.Load()
		if err != nil || len(records) != 1 || len(records[0].Legs) != 2 {
			t.Errorf("stored: %+v, %v", records, err)
		}
	})
}
