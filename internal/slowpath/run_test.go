// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-project/weft/internal/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running runs the engine until stop, which waits for its end.
func running(t *testing.T, e *Engine) (events chan Event, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events = make(chan Event)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(ctx, events)
	}()
	return events, func() {
		cancel()
		<-done
	}
}

// TestExpiry checks that each fragment is dropped a second after it came,
// without anything coming meanwhile.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		e := newEngine(t, w, nil)
		events, stop := running(t, e)
		want := func(what string, c Counters) {
			t.Helper()
			synctest.Wait()
			if got := e.Counters(); got != c {
				t.Errorf("%s: counted %+v, want %+v", what, got, c)
			}
		}
		events <- park(client4, 1, 1)
		time.Sleep(400 * time.Millisecond)
		events <- park(client4, 1, 2)
		events <- park(client6, 2, 2)
		time.Sleep(600*time.Millisecond - 1)
		want("just before", Counters{Held: 3})
		time.Sleep(time.Nanosecond)
		want("after one second", Counters{Held: 2, Expired: 1})
		time.Sleep(400 * time.Millisecond)
		want("after all", Counters{Expired: 3})
		if w.waiting {
			t.Error("still waiting")
		}
		time.Sleep(time.Hour)
		events <- park(client4, 1, 1)
		time.Sleep(time.Second)
		want("once more", Counters{Expired: 4})
		stop()
	})
}

func TestRateOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		e := newEngine(t, w, nil)
		events, stop := running(t, e)
		frame := client4.Packet(fromClient, packet.UDP, client4.UDP(1, 2, nil))
		for range 20000 {
			events <- event(TimeExceeded, frame)
			time.Sleep(100 * time.Microsecond)
		}
		stop()
		// The burst, and 1000 per second for 2 seconds.
		if got := e.Counters(); got.TimeExceeded < 2099 || got.TimeExceeded > 2100 || got.TimeExceeded+got.RateLimited != 20000 {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestEnd has a Run end in both ways while fragments are held.
func TestEnd(t *testing.T) {
	for name, end := range map[string]func(stop func(), events chan Event){
		"context": func(stop func(), _ chan Event) { stop() },
		"events":  func(stop func(), events chan Event) { close(events); synctest.Wait(); stop() },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			e := newEngine(t, w, nil)
			events, stop := running(t, e)
			events <- park(client4, 1, 1)
			events <- park(client4, 2, 1)
			end(stop, events)
			if got := e.Counters(); got != (Counters{Expired: 2}) || w.waiting || e.held.used != 0 || len(e.held.byKey) != 0 {
				t.Errorf("%s: counted %+v, waiting %v, %d bytes held", name, got, w.waiting, e.held.used)
			}
		})
	}
}

// program is the other side of the hand-over, as concurrent as the real one.
type program struct {
	*world
	table   sync.Map
	waiting atomic.Bool
}

func (p *program) SetWaiting(on bool) { p.waiting.Store(on) }

func (p *program) Lookup(key FragmentKey) (FragmentVerdict, bool) {
	_, ok := p.table.Load(key)
	runtime.Gosched() // now is when a first fragment may come
	return FragmentVerdict{Target: target}, ok
}

// TestHandOver lets first and later fragments race. None may be left over.
func TestHandOver(t *testing.T) {
	const packets = 3000
	p := &program{world: newWorld()}
	e := newEngine(t, p.world, func(c *Config) { c.Fragments, c.MaxPackets, c.Hold = p, packets, time.Hour })
	events, stop := running(t, e)
	for id := range uint32(packets) {
		var group sync.WaitGroup
		group.Go(func() { events <- park(client4, id, 1) })
		group.Go(func() {
			runtime.Gosched()
			p.table.Store(key(client4, id), true)
			if p.waiting.Load() {
				events <- release(client4, id)
			}
		})
		group.Wait()
	}
	events <- Event{Kind: Release} // all before it have been handled
	if got := e.Counters(); got.Held != 0 || got.Forwarded != packets || p.waiting.Load() {
		t.Errorf("counted %+v, waiting %v", got, p.waiting.Load())
	}
	stop()
	if got := e.Counters(); got.Expired != 0 {
		t.Errorf("counted %+v", got)
	}
}

func TestConfig(t *testing.T) {
	_, err := New(Config{ErrorRate: -1, ErrorBurst: -2, MaxPerPacket: -3, MaxPackets: -4, MaxBytes: -5, Hold: -6})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"External 0", "Targets", "Gateways", "Fragments", "Sender", "ErrorRate -1", "ErrorBurst -2", "MaxPerPacket -3",
		"MaxPackets -4", "MaxBytes -5", "Hold -6ns",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not tell of %s", err, want)
		}
	}
	w := newWorld()
	e := newEngine(t, w, func(c *Config) { c.MaxBytes = 5 })
	if c := e.cfg; c.ErrorRate != 1000 || c.ErrorBurst != 100 || c.MaxPerPacket != 64 || c.MaxPackets != 1024 ||
		c.MaxBytes != 5 || c.Hold != time.Second {
		t.Errorf("defaults: %+v", c)
	}
}
