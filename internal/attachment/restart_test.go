// SPDX-License-Identifier: Apache-2.0

package attachment_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/testutil"
)

func TestRestartTakesUpTheSameConnections(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		one, two := w.mesh.add("lb.trench-a", "lb-1", "web"), w.mesh.add("lb.trench-a", "lb-2", "web")
		before := w.mustAttach(spec("a", "web"), time.Second)
		w.restart()
		synctest.Wait()
		after := w.get("a")
		wantCondition(t, after, attachment.Ready, attachment.True, attachment.ReasonAllLegs)
		if diff := cmp.Diff(before.Spec, after.Spec); diff != "" {
			t.Error(diff)
		}
		for i := range before.Status.Legs {
			if before.Status.Legs[i].ConnectionID != after.Status.Legs[i].ConnectionID {
				t.Errorf("leg to %s has another connection", before.Status.Legs[i].Endpoint)
			}
		}
		for _, e := range []*fakeEndpoint{one, two} {
			if requests, closes := w.mesh.count(e); requests != 2 || closes != 0 {
				t.Errorf("%d requests, %d closes; want 2, 0", requests, closes)
			}
			if string(e.requests[1].Connection.State) == "" {
				t.Error("the stored connection was not used")
			}
		}
	})
}

func TestRestartWhileAnEndpointWentAway(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mesh.add("lb.trench-a", "lb-2", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		w.Stop()
		w.mesh.remove("lb.trench-a", "lb-1")
		w.start()
		synctest.Wait()
		if legs := w.get("a").Status.Legs; len(legs) != 1 || legs[0].Endpoint != "lb-2" {
			t.Errorf("legs are %+v", legs)
		}
	})
}

func TestRestartWhileTheNamespaceDied(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		w.Stop()
		w.node.dead[namespace(1)] = true
		w.start()
		synctest.Wait()
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
		if n := len(w.mesh.joined(e)); n != 0 {
			t.Errorf("%d connections remain", n)
		}
	})
}

func TestRestartFinishesAnInterruptedDetach(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		e := w.mesh.add("lb.trench-a", "lb-1", "web")
		w.mustAttach(spec("a", "web"), time.Second)
		w.mesh.with(e, func(e *fakeEndpoint) { e.failClose = errors.New("away") })
		done := make(chan error)
		go func() { done <- w.Detach(context.Background(), "a", attachment.Scope{}) }()
		synctest.Wait()
		w.Stop()
		if err := <-done; attachment.KindOf(err) != attachment.Unavailable {
			t.Errorf("detach at the manager's end: %v", err)
		}
		w.mesh.with(e, func(e *fakeEndpoint) { e.failClose = nil })
		w.start()
		synctest.Wait()
		if left := w.List(attachment.Filter{}); len(left) != 0 {
			t.Errorf("%v remain", left)
		}
		if n := len(w.mesh.joined(e)); n != 0 {
			t.Errorf("%d connections remain", n)
		}
	})
}

func TestWantedStateIsStoredBeforeItIsAcknowledged(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mustAttach(spec("a", "web"), 0)
		if _, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Join: []string{"dns"}}, 0); err != nil {
			t.Fatal(err)
		}
		records, err := w.options.Store.Load()
		if err != nil || len(records) != 1 || len(records[0].Spec.Streams) != 2 || records[0].Generation != 2 {
			t.Errorf("stored is %+v, %v", records, err)
		}
	})
}

// breakableStore cannot save once it is full.
type breakableStore struct {
	attachment.Store
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (s *breakableStore) Save(record attachment.Record) error {
	if s.full.Load() {
		return errFull
	}
	return s.Store.Save(record)
}

func TestWhatCannotBeStoredIsNotDone(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.mesh.add("lb.trench-a", "lb-1", "web", "dns")
		store := &breakableStore{Store: w.options.Store}
		w.options.Store = store
		w.restart()
		w.mustAttach(spec("a", "web"), time.Second)
		store.full.Store(true)
		b := spec("b", "web")
		b.Interface = "nsm-2"
		if _, err := w.Attach(t.Context(), b, 0); !errors.Is(err, errFull) {
			t.Errorf("attach: %v", err)
		}
		if _, err := w.Update(t.Context(), "a", attachment.Scope{}, attachment.Change{Join: []string{"dns"}}, 0); !errors.Is(err, errFull) {
			t.Errorf("update: %v", err)
		}
		left := w.List(attachment.Filter{})
		if len(left) != 1 || len(left[0].Spec.Streams) != 1 || left[0].Generation != 1 {
			t.Errorf("attachments are %+v", left)
		}
		if w.node.uses[namespace(1)] != 1 {
			t.Errorf("watched namespaces: %v", w.node.uses)
		}
	})
}

func TestCorruptFileStopsTheStart(t *testing.T) {
	good := `{"Version":1,"Spec":{"Name":"a","NetworkService":"lb.a","Interface":"nsm-1","NetNS":{"Dev":4,"Ino":1,"Cookie":1},"Path":""},"Generation":1,"Created":"2026-01-01T00:00:00Z"}`
	tests := map[string]struct{ content, text string }{
		"cut off":       {good[:40], "unexpected EOF"},
		"empty":         {"", "EOF"},
		"not JSON":      {"\x00\x01", "invalid character"},
		"trailing":      {good + "{}", "after the end"},
		"later version": {strings.Replace(good, `"Version":1`, `"Version":2`, 1), "version 2"},
		"unknown field": {strings.Replace(good, `"Generation"`, `"Surprise"`, 1), "Surprise"},
		"other name":    {strings.Replace(good, `"Name":"a"`, `"Name":"b"`, 1), `"b"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files, err := attachment.NewFiles(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(files.Dir(), "a.json")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = attachment.New(t.Context(), attachment.Options{Store: files})
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestLeftoversAreNoRecords(t *testing.T) {
	base := t.TempDir()
	files, err := attachment.NewFiles(base)
	if err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(base, "2b0a4f58-0000-0000-0000-000000000000", "a.json")
	if err := os.MkdirAll(filepath.Dir(stale), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(files.Dir(), "a.json.new"), // an interrupted save
		stale,                                    // of an earlier run of the machine, torn by its crash
	} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if records, err := files.Load(); err != nil || len(records) != 0 {
		t.Errorf("loaded %v, %v", records, err)
	}
	if err := files.DeleteStale(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(stale)); !os.IsNotExist(err) {
		t.Errorf("the records of an earlier run remain: %v", err)
	}
	if _, err := os.Stat(files.Dir()); err != nil {
		t.Error(err)
	}
}

// TestConcurrentUse lets many callers do everything at once; afterwards
// nothing is left anywhere.
func TestConcurrentUse(t *testing.T) {
	testutil.CheckLeaks(t)
	files, err := attachment.NewFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mesh, node := newFakeMesh(), newFakeNode()
	e := mesh.add("lb.trench-a", "lb-1", "web", "dns")
	m, err := attachment.New(t.Context(), attachment.Options{
		Mesh: mesh, Namespaces: node, Interfaces: node, Store: files, Node: "node-1",
		Log: slog.New(slog.DiscardHandler), RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for round := range 20 {
				wanted := spec(fmt.Sprintf("a-%d", i), "web")
				wanted.NetNS = namespace(uint64(1 + i/2))
				wanted.Interface = fmt.Sprintf("nsm-%d", i)
				if _, err := m.Attach(t.Context(), wanted, time.Minute); err != nil {
					// A neighbour in the same namespace has ended it.
					if attachment.KindOf(err) != attachment.Precondition {
						t.Error(err)
					}
					continue
				}
				_, err := m.Update(t.Context(), wanted.Name, attachment.Scope{}, attachment.Change{Join: []string{"dns"}}, time.Minute)
				if kind := attachment.KindOf(err); err != nil && kind != attachment.Precondition && kind != attachment.NotFound {
					t.Error(err)
				}
				if round%5 == 4 {
					m.NamespaceGone(wanted.NetNS)
				}
				if err := m.Detach(t.Context(), wanted.Name, attachment.Scope{}); err != nil && attachment.KindOf(err) != attachment.NotFound {
					t.Error(err)
				}
			}
		})
	}
	wait.Go(func() {
		for i := range 40 {
			mesh.lose(e, attachment.ErrLost)
			if i%4 == 0 {
				mesh.add("lb.trench-a", fmt.Sprintf("lb-%d", i), "web", "dns")
			}
			if i%4 == 2 {
				mesh.remove("lb.trench-a", fmt.Sprintf("lb-%d", i-2))
			}
		}
	})
	wait.Wait()
	if left := m.List(attachment.Filter{}); len(left) != 0 {
		t.Errorf("%v remain", left)
	}
	if n := len(mesh.joined(e)); n != 0 {
		t.Errorf("%d connections remain", n)
	}
	node.mu.Lock()
	defer node.mu.Unlock()
	if len(node.uses) != 0 {
		t.Errorf("namespaces are still watched: %v", node.uses)
	}
	if records, err := files.Load(); err != nil || len(records) != 0 {
		t.Errorf("stored are %v, %v", records, err)
	}
}
