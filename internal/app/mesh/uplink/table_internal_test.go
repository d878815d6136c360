// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/networkservicemesh/api/pkg/api/registry"
)

type nse = *registry.NetworkServiceEndpoint

// world is a registry and the memory of an nsmgr; its lock is for the registry.
type world struct {
	mu        sync.Mutex
	sessions  chan chan event[nse] // every attempt to connect takes one
	published map[string]string    // name -> URL
	calls     int
	refuse    error

	memory map[string]string
	puts   int
}

func newWorld() *world {
	return &world{sessions: make(chan chan event[nse], 9), published: map[string]string{}, memory: map[string]string{}}
}

func (w *world) source() source[nse] {
	return source[nse]{
		name: func(n nse) string { return n.GetName() },
		watch: func(ctx context.Context) (func() (event[nse], error), error) {
			select {
			case session := <-w.sessions:
				return func() (event[nse], error) {
					select {
					case e, ok := <-session:
						if !ok {
							return e, errors.New("lost")
						}
						return e, nil
					case <-ctx.Done():
						return event[nse]{}, ctx.Err()
					}
				}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		publish: func(_ context.Context, n nse) (time.Time, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls++
			if w.refuse != nil {
				return time.Time{}, w.refuse
			}
			w.published[n.GetName()] = n.GetUrl()
			return time.Now().Add(time.Minute), nil
		},
		retract: func(_ context.Context, n nse) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.published, n.GetName())
			return nil
		},
		put: func(_ context.Context, n nse) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.memory[n.GetName()] = n.GetUrl()
			w.puts++
			return nil
		},
		drop: func(_ context.Context, n nse) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.memory, n.GetName())
			return nil
		},
		mine:    func(n nse) bool { return n.GetUrl() == "tcp://me" },
		ignored: func(n nse) bool { return n.GetName() == "forwarder" },
	}
}

func (w *world) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.published))
}

// mirrored returns a copy of the memory and how often it has changed.
func (w *world) mirrored() (map[string]string, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.memory), w.puts
}

// attempts returns how often something was published.
func (w *world) attempts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// change changes what the registry has or does.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func is(name, url string) nse { return &registry.NetworkServiceEndpoint{Name: name, Url: url} }

func run(t *testing.T, test func(t *testing.T, w *world, table *table[nse])) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		table := newTable(w.source(), slog.New(slog.DiscardHandler), 15*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); table.follow(ctx) }()
		test(t, w, table)
		cancel()
		<-done
	})
}

func TestMirror(t *testing.T) {
	run(t, func(t *testing.T, w *world, table *table[nse]) {
		session := make(chan event[nse])
		w.sessions <- session
		for _, e := range []event[nse]{
			{item: is("a", "tcp://1")}, {item: is("a", "tcp://1")}, {item: is("b", "tcp://2")}, {item: is("c", "tcp://2")},
			{item: is("forwarder", "tcp://2")}, {item: is("old", "tcp://me")}, {item: is("b", "tcp://2"), deleted: true},
		} {
			session <- e
		}
		synctest.Wait()
		memory, puts := w.mirrored()
		if diff := cmp.Diff(map[string]string{"a": "tcp://1", "c": "tcp://2"}, memory); diff != "" || puts != 3 {
			t.Errorf("%d puts\n%s", puts, diff)
		}
		// The registry is away for long: nothing is forgotten. It comes back empty
		// and hears of one of them again.
		close(session)
		time.Sleep(time.Hour)
		if memory, _ := w.mirrored(); len(memory) != 2 {
			t.Errorf("without registry: %v", memory)
		}
		session = make(chan event[nse])
		w.sessions <- session
		session <- event[nse]{item: is("c", "tcp://2")}
		time.Sleep(14 * time.Second)
		if memory, _ := w.mirrored(); len(memory) != 2 {
			t.Errorf("before the time is over: %v", memory)
		}
		time.Sleep(2 * time.Second)
		memory, puts = w.mirrored()
		if diff := cmp.Diff(map[string]string{"c": "tcp://2"}, memory); diff != "" || puts != 3 {
			t.Errorf("%d puts\n%s", puts, diff)
		}
	})
}

func TestPublish(t *testing.T) {
	run(t, func(t *testing.T, w *world, table *table[nse]) {
		begin := time.Now()
		table.set(t.Context(), is("x", "unix:///x"), false)
		if time.Since(begin) != 0 {
			t.Error("waits for a registry that is not there")
		}
		session := make(chan event[nse])
		w.sessions <- session
		time.Sleep(time.Second) // the attempt to connect
		table.set(t.Context(), is("y", "unix:///y"), false)
		if diff := cmp.Diff([]string{"x", "y"}, w.names()); diff != "" {
			t.Error(diff)
		}
		// Refreshes, well before what is published would expire.
		calls := w.attempts()
		time.Sleep(time.Minute)
		synctest.Wait()
		if refreshed := w.attempts() - calls; refreshed < 4 || refreshed > 10 {
			t.Errorf("%d refreshes of two in a minute", refreshed)
		}
		// It comes back empty; and when it has let something expire, too.
		close(session)
		w.change(func() { w.published = map[string]string{} })
		session = make(chan event[nse])
		w.sessions <- session
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"x", "y"}, w.names()); diff != "" {
			t.Error(diff)
		}
		w.change(func() { delete(w.published, "x") })
		session <- event[nse]{item: is("x", "tcp://me"), deleted: true}
		synctest.Wait()
		if diff := cmp.Diff([]string{"x", "y"}, w.names()); diff != "" {
			t.Error(diff)
		}
		table.set(t.Context(), is("x", ""), true)
		if diff := cmp.Diff([]string{"y"}, w.names()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRefusedIsTriedAgain(t *testing.T) {
	run(t, func(t *testing.T, w *world, table *table[nse]) {
		w.change(func() { w.refuse = errors.New("no") })
		w.sessions <- make(chan event[nse])
		synctest.Wait()
		table.set(t.Context(), is("x", "unix:///x"), false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.attempts(); n < 5 || n > 20 {
			t.Errorf("%d attempts in a minute", n)
		}
		w.change(func() { w.refuse = nil })
		time.Sleep(maxRetry)
		synctest.Wait()
		if diff := cmp.Diff([]string{"x"}, w.names()); diff != "" {
			t.Error(diff)
		}
	})
}

// Two nodes with endpoints of one name: each keeps its own.
func TestSameName(t *testing.T) {
	run(t, func(t *testing.T, w *world, table *table[nse]) {
		session := make(chan event[nse])
		w.sessions <- session
		synctest.Wait()
		table.set(t.Context(), is("x", "unix:///x"), false)
		session <- event[nse]{item: is("x", "tcp://2")}
		session <- event[nse]{item: is("x", "tcp://2"), deleted: true}
		synctest.Wait()
		if memory, puts := w.mirrored(); puts != 0 || len(w.names()) != 1 {
			t.Errorf("memory %v, published %v", memory, w.names())
		}
	})
}
