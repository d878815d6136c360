// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"
)

// answerGrace is how long an answer may take before its request counts as lost.
const answerGrace = 500 * time.Millisecond

// Window is what happened to the requests sent between two marks. A request is
// lost when it or its answer is.
type Window struct {
	Sent, Lost  int
	Duplicated  int                  // answers beyond the first
	Reordered   int                  // answers heard after that to a later request of the flow
	MovedFlows  int                  // flows whose server changed in the window
	MovedTwice  int                  // of those, flows whose server changed more than once
	LostUnmoved int                  // lost requests of the other flows: must be 0
	LostFlows   int                  // flows that lost something
	First       map[string]time.Time // server -> first answer heard from it
	ByServer    map[string]int       // answers
	FirstLost   time.Time            // send time of the first lost request
	LastLost    time.Time            // send time of the last lost request
	LongestGap  time.Duration        // longest time that a flow went without an answered request, where it lost some
	Rate        float64              // requests per second
}

// Between reports on the requests sent from a to b; it waits until each of
// them is answered or its grace is over.
func (s *Steady) Between(a, b Mark) Window {
	s.settle(a, b)
	w := Window{First: map[string]time.Time{}, ByServer: map[string]int{}}
	s.mu.Lock()
	servers := slices.Clone(s.servers)
	s.mu.Unlock()
	count := counter{Window: &w, start: s.start, end: b.At, servers: servers}
	for i, f := range s.flows {
		f.mu.Lock()
		count.flow(f.sent, a.seq[i]-f.first, b.seq[i]-f.first, f.before)
		f.mu.Unlock()
	}
	w.Rate = float64(w.Sent) / b.At.Sub(a.At).Seconds()
	return w
}

// counter adds flows to a window.
type counter struct {
	*Window
	start, end time.Time
	servers    []string
}

func (c *counter) time(at int64) time.Time { return c.start.Add(time.Duration(at)) }

// flow counts one flow. The answer before the window tells where the flow was.
func (c *counter) flow(sent []request, from, to, forgotten int) {
	before := uint16(0)
	for i := from - 1; i >= 0 && before == 0; i-- {
		before = sent[i].server
	}
	if before == 0 {
		before = uint16(forgotten)
	}
	lost, moves := 0, 0
	gap := time.Time{} // since when nothing was answered
	for _, r := range sent[from:to] {
		c.Sent++
		c.Duplicated += int(r.again)
		if r.server == 0 {
			lost++
			c.lose(c.time(r.at))
			if gap.IsZero() {
				gap = c.time(r.at)
			}
			continue
		}
		if !gap.IsZero() {
			c.LongestGap, gap = max(c.LongestGap, c.time(r.at).Sub(gap)), time.Time{}
		}
		if r.late {
			c.Reordered++
		}
		if before != 0 && r.server != before {
			moves++
		}
		before = r.server
		c.answer(c.servers[r.server], c.time(r.heard))
	}
	if !gap.IsZero() {
		c.LongestGap = max(c.LongestGap, c.end.Sub(gap))
	}
	c.total(lost, moves)
}

func (w *Window) lose(at time.Time) {
	if w.FirstLost.IsZero() || at.Before(w.FirstLost) {
		w.FirstLost = at
	}
	if at.After(w.LastLost) {
		w.LastLost = at
	}
}

func (w *Window) answer(server string, heard time.Time) {
	w.ByServer[server]++
	if t, ok := w.First[server]; !ok || heard.Before(t) {
		w.First[server] = heard
	}
}

func (w *Window) total(lost, moves int) {
	w.Lost += lost
	if lost > 0 {
		w.LostFlows++
	}
	switch {
	case moves == 0:
		w.LostUnmoved += lost
	case moves > 1:
		w.MovedTwice++
		fallthrough
	default:
		w.MovedFlows++
	}
}

// settle waits for late answers to the requests of the window.
func (s *Steady) settle(a, b Mark) {
	deadline := b.At.Add(answerGrace)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) && !s.answered(a, b) {
		<-tick.C
	}
}

func (s *Steady) answered(a, b Mark) bool {
	for i, f := range s.flows {
		f.mu.Lock()
		for _, r := range f.sent[a.seq[i]-f.first : b.seq[i]-f.first] {
			if r.server == 0 {
				f.mu.Unlock()
				return false
			}
		}
		f.mu.Unlock()
	}
	return true
}

func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed)
}
