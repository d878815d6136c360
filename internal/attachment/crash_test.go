// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-project/weft/internal/attachment"
)

var errKilled = errors.New("killed")

// mortal counts the steps by which a process changes anything outside of it, and
// kills it at one of them: nothing that it does afterwards has an effect.
type mortal struct {
	attachment.Store
	attachment.Mesh
	mu           sync.Mutex // of steps
	steps, dieAt int
	after        bool // the step's effect is the last one
}

// step reports whether the process lives before and after its next step.
func (m *mortal) step() (before, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps++
	switch {
	case m.dieAt == 0 || m.steps < m.dieAt:
		return true, true
	case m.steps == m.dieAt && m.after:
		return true, false
	}
	return false, false
}

func (m *mortal) do(act func() error) error {
	before, after := m.step()
	if !before {
		return errKilled
	}
	if err := act(); err != nil || after {
		return err
	}
	return errKilled
}

func (m *mortal) Save(record attachment.Record) error {
	return m.do(func() error { return m.Store.Save(record) })
}

func (m *mortal) Delete(name string) error {
	return m.do(func() error { return m.Store.Delete(name) })
}

func (m *mortal) Request(ctx context.Context, request attachment.Request) (answer attachment.Connection, err error) {
	err = m.do(func() error { answer, err = m.Mesh.Request(ctx, request); return err })
	return answer, err
}

func (m *mortal) Close(ctx context.Context, request attachment.Request) error {
	return m.do(func() error { return m.Mesh.Close(ctx, request) })
}

// TestKilledAtEveryStep: whatever step of attaching, changing or detaching an
// agent is killed before or after, its successor has each attachment wholly or
// not at all, with one interface and one connection to each endpoint, and no
// endpoint has one more than that.
func TestKilledAtEveryStep(t *testing.T) {
	const lifetime = time.Minute
	total := 0
	run := func(dieAt int, after bool) (steps int) {
		in(t, func(t *testing.T, w *world) {
			w.mesh.lifetime = lifetime
			endpoints := []*fakeEndpoint{w.mesh.add("lb.trench-a", "lb-1", "web", "dns"), w.mesh.add("lb.trench-a", "lb-2", "web", "dns")}
			w.mustAttach(spec("old", "web"), time.Second)
			healthy := w.options
			m := &mortal{Store: healthy.Store, Mesh: w.mesh, dieAt: dieAt, after: after}
			w.Stop()
			w.options.Store, w.options.Mesh = m, m
			w.start()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			b := spec("new", "web")
			b.Interface = "nsm-2"
			_, attached := w.Attach(ctx, b, time.Second)
			_, updated := w.Update(ctx, "old", attachment.Scope{}, attachment.Change{Join: []string{"dns"}}, time.Second)
			detached := w.Detach(ctx, "new", attachment.Scope{})
			if dieAt == 0 && (attached != nil || updated != nil || detached != nil) {
				t.Fatalf("%v, %v, %v", attached, updated, detached)
			}
			m.mu.Lock()
			steps = m.steps
			m.mu.Unlock()
			w.options = healthy
			w.restart()
			time.Sleep(lifetime / 2)

			left := w.List(attachment.Filter{})
			names := make([]string, 0, len(left))
			for _, a := range left {
				names = append(names, a.Spec.Name)
				wantCondition(t, a, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
			}
			if !slices.Contains(names, "old") || detached == nil && len(names) != 1 {
				t.Errorf("killed at step %d, after %v: attachments %v", dieAt, after, names)
			}
			if old := w.get("old"); updated == nil && len(old.Spec.Streams) != 2 {
				t.Errorf("killed at step %d, after %v: the change is lost", dieAt, after)
			}
			for _, e := range endpoints {
				count := map[string]int{}
				for _, a := range left {
					for id, c := range w.mesh.connections(e) {
						if c.Target == a.Status.Target {
							count[a.Spec.Name]++
							if !slices.ContainsFunc(a.Status.Legs, func(l attachment.Leg) bool { return l.ConnectionID == id }) {
								t.Errorf("killed at step %d, after %v: connection %s is not a leg", dieAt, after, id)
							}
						}
					}
					if count[a.Spec.Name] != 1 {
						t.Errorf("killed at step %d, after %v: %s has %d connections", dieAt, after, a.Spec.Name, count[a.Spec.Name])
					}
				}
				if n := len(w.mesh.connections(e)); n != len(left) {
					t.Errorf("killed at step %d, after %v: %d connections for %d attachments", dieAt, after, n, len(left))
				}
			}
		})
		return steps
	}
	total = run(0, false)
	t.Logf("%d steps", total)
	for dieAt := 1; dieAt <= total; dieAt++ {
		run(dieAt, false)
		run(dieAt, true)
	}
}
