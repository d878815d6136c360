// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
)

// observer collects events.
type observer struct {
	mu     sync.Mutex
	events []Event
	end    chan error
	cancel context.CancelFunc
}

func observe(t *testing.T, l *LB, f Filter) *observer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := &observer{end: make(chan error, 1), cancel: cancel}
	t.Cleanup(cancel)
	go func() {
		o.end <- l.Observe(ctx, f, func(e Event) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.events = append(o.events, e)
		})
	}()
	testutil.Eventually(t, 10*time.Second, "observation", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return atomic.LoadUint32(&at[bpfLbControl](l.control, 0).Observe) != 0
	})
	return o
}

func (o *observer) seen() []Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

// stop ends the observation.
func (o *observer) stop(t *testing.T) {
	t.Helper()
	o.cancel()
	if err := <-o.end; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// observed are packets and what is to be seen of them.
func observed() (frames []fixture, events []Event) {
	add := func(f fixFamily, frame []byte, e Event, reply bool) {
		e.Length, e.Reply = len(frame), reply
		if !e.Src.IsValid() {
			e.Src, e.Dst = f.in.Src, f.in.Dst
		}
		frames, events = append(frames, fixture{frame: frame, reply: reply}), append(events, e)
	}
	for _, f := range fixFamilies {
		add(f, request(toUs, f.in, packet.TCP, webPort), Event{
			Reason: Forwarded, Protocol: packet.TCP, SourcePort: 4000, DestinationPort: webPort, Stream: 1, Flow: 1, Target: 1,
		}, false)
		add(f, request(toUs, f.in, packet.UDP, 81), Event{Reason: DropNoFlow, Protocol: packet.UDP, SourcePort: 4000, DestinationPort: 81}, false)
		add(f, request(toUs, f.in, packet.SCTP, rulePort), Event{
			Reason: Forwarded, Protocol: packet.SCTP, SourcePort: 4000, DestinationPort: rulePort, Stream: 1, Flow: 6, Target: 1,
		}, false)
		add(f, response(toUs, f.reply, packet.UDP, webPort), Event{
			Reason: ReplyForwarded, Protocol: packet.UDP, SourcePort: webPort, DestinationPort: 4000, Src: f.reply.Src, Dst: f.reply.Dst,
		}, true)
		away := f.in
		away.Dst = f.gateway
		add(f, request(toUs, away, packet.UDP, 53), Event{
			Reason: PassNotVIP, Protocol: packet.UDP, SourcePort: 4000, DestinationPort: 53, Src: away.Src, Dst: away.Dst,
		}, false)
	}
	return frames, events
}

// TestObserveFilters passes the same packets by one filter after the other.
func TestObserveFilters(t *testing.T) {
	testutil.CheckLeaks(t)
	l := newLB(t, Config{})
	fixtureRules(t, l)
	frames, events := observed()
	within := func(p string, a netip.Addr) bool { return netip.MustParsePrefix(p).Contains(a) }
	for name, c := range map[string]struct {
		filter Filter
		want   func(Event) bool
	}{
		"all":        {Filter{}, func(Event) bool { return true }},
		"source4":    {Filter{Src: netip.MustParsePrefix("10.0.0.0/24")}, func(e Event) bool { return within("10.0.0.0/24", e.Src) }},
		"source6":    {Filter{Src: netip.MustParsePrefix("2001:db8::9/128")}, func(e Event) bool { return e.Src == fixSrc6 }},
		"dst4":       {Filter{Dst: netip.MustParsePrefix("20.0.0.1/32")}, func(e Event) bool { return e.Dst == fixVIP4 }},
		"dst6":       {Filter{Dst: netip.MustParsePrefix("2000::/16")}, func(e Event) bool { return within("2000::/16", e.Dst) }},
		"all of 4":   {Filter{Src: netip.MustParsePrefix("0.0.0.0/0")}, func(e Event) bool { return e.Src.Is4() }},
		"unmasked":   {Filter{Dst: netip.MustParsePrefix("20.9.9.9/8")}, func(e Event) bool { return within("20.0.0.0/8", e.Dst) }},
		"both":       {Filter{Src: netip.MustParsePrefix("10.0.0.0/8"), Dst: netip.MustParsePrefix("20.0.0.0/8")}, func(e Event) bool { return e.Src == fixSrc4 && e.Dst == fixVIP4 }},
		"protocol":   {Filter{Protocol: packet.UDP}, func(e Event) bool { return e.Protocol == packet.UDP }},
		"port":       {Filter{Port: webPort}, func(e Event) bool { return e.SourcePort == webPort || e.DestinationPort == webPort }},
		"reasons":    {Filter{Reasons: []Reason{DropNoFlow, ReplyForwarded}}, func(e Event) bool { return e.Reason == DropNoFlow || e.Reason == ReplyForwarded }},
		"everything": {Filter{Src: netip.MustParsePrefix("10.0.0.9/32"), Protocol: packet.SCTP, Port: 4000, Reasons: []Reason{Forwarded}}, func(e Event) bool { return e.Src == fixSrc4 && e.Protocol == packet.SCTP }},
	} {
		t.Run(name, func(t *testing.T) {
			var want []Event
			for _, e := range events {
				if c.want(e) {
					want = append(want, e)
				}
			}
			if len(want) == 0 || (len(want) == len(events)) != (name == "all") {
				t.Fatalf("%d of %d events: no test", len(want), len(events))
			}
			start := time.Now().Add(-time.Second)
			c.filter.Rate = 1_000_000
			o := observe(t, l, c.filter)
			for range 2 { // those of the second round come after all of the first
				for _, f := range frames {
					test := l.testIn
					if f.reply {
						test = l.testReply
					}
					_, _, err := test(f.frame)
					check(t, err)
				}
			}
			want = append(want, want...)
			testutil.Eventually(t, 10*time.Second, "events", func() bool { return len(o.seen()) >= len(want) })
			o.stop(t)
			got := o.seen()
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Event{}, "Time"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
			for _, e := range got {
				if e.Time.Before(start) || e.Time.After(time.Now().Add(time.Second)) {
					t.Errorf("at %v, now is %v", e.Time, time.Now())
				}
			}
		})
	}
}

// TestObserveLimits: the program samples and limits.
func TestObserveLimits(t *testing.T) {
	testutil.CheckLeaks(t)
	l := newLB(t, Config{})
	fixtureRules(t, l)
	frame := request(toUs, fixFamilies[1].in, packet.UDP, 81)
	last := request(toUs, fixFamilies[0].in, packet.UDP, 81) // comes after all
	t.Run("rate", func(t *testing.T) {
		o := observe(t, l, Filter{Rate: 100})
		start := time.Now()
		flood(t, l, l.objs.Lb, frame, 10_000)
		most := 64 + 1 + 1 + int(time.Since(start)+10*time.Millisecond)*100/int(time.Second)
		testutil.Eventually(t, 10*time.Second, "the last event", func() bool {
			_, _, err := l.testIn(last)
			check(t, err)
			events := o.seen()
			return len(events) > 0 && events[len(events)-1].Src == fixSrc4
		})
		o.stop(t)
		n := 0
		for _, e := range o.seen() {
			if e.Src == fixSrc6 {
				n++
			}
		}
		t.Logf("%d events, at most %d", n, most)
		if n == 0 || n > most {
			t.Errorf("%d events, want 1 to %d", n, most)
		}
	})
	t.Run("sample", func(t *testing.T) {
		const packets, sample, mean, deviation = 4000, 10, 400, 19
		o := observe(t, l, Filter{Rate: 1_000_000_000, Sample: sample, Protocol: packet.UDP})
		flood(t, l, l.objs.Lb, frame, packets)
		testutil.Eventually(t, 10*time.Second, "events", func() bool { return len(o.seen()) > mean-6*deviation })
		o.stop(t)
		if n := len(o.seen()); n > mean+6*deviation {
			t.Errorf("%d events, want about %d", n, mean)
		}
	})
}

// TestObserveAnew: an observer does not see what the one before has left.
func TestObserveAnew(t *testing.T) {
	l := newLB(t, Config{})
	fixtureRules(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	end, busy := make(chan error), make(chan struct{}, 1)
	go func() {
		end <- l.Observe(ctx, Filter{}, func(Event) {
			select {
			case busy <- struct{}{}:
			default:
			}
			<-ctx.Done()
		})
	}()
	frame := request(toUs, fixFamilies[1].in, packet.UDP, 81)
	testutil.Eventually(t, 10*time.Second, "an event", func() bool {
		flood(t, l, l.objs.Lb, frame, 10)
		return len(busy) > 0
	})
	flood(t, l, l.objs.Lb, frame, 10)
	cancel()
	check(t, <-end)
	o := observe(t, l, Filter{Protocol: packet.TCP})
	_, _, err := l.testIn(request(toUs, fixFamilies[0].in, packet.TCP, 81))
	check(t, err)
	testutil.Eventually(t, 10*time.Second, "an event", func() bool { return len(o.seen()) > 0 })
	o.stop(t)
	for _, e := range o.seen() {
		if e.Protocol != packet.TCP {
			t.Errorf("sees %+v", e)
		}
	}
}

// TestObserveEnds: one observes at a time, until its context ends or the load
// balancer is closed.
func TestObserveEnds(t *testing.T) {
	testutil.CheckLeaks(t)
	l := newLB(t, Config{})
	for range 2 {
		o := observe(t, l, Filter{})
		if err := l.Observe(t.Context(), Filter{}, nil); !errors.Is(err, ErrObserved) {
			t.Errorf("second observer: %v, want ErrObserved", err)
		}
		o.stop(t)
		if on := at[bpfLbControl](l.control, 0).Observe; on != 0 {
			t.Error("the program still observes")
		}
	}
	for want, f := range map[string]Filter{
		"rate -1: less than 0": {Rate: -1}, "reason 0: unknown": {Reasons: []Reason{0}}, fmt.Sprintf("reason %d: unknown", uint32(reasons)): {Reasons: []Reason{Forwarded, reasons}},
	} {
		if err := l.Observe(t.Context(), f, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	o := observe(t, l, Filter{})
	check(t, l.Close())
	if err := <-o.end; !errors.Is(err, errClosed) {
		t.Errorf("ended with %v, want %v", err, errClosed)
	}
	if err := l.Observe(t.Context(), Filter{}, nil); !errors.Is(err, errClosed) {
		t.Errorf("of a closed one: %v, want %v", err, errClosed)
	}
}
