// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"net"
	"os"
	"time"
)

// answerGrace is how long an answer may take before its request counts as lost.
const answerGrace = 500 * time.Millisecond

// Window is what happened to the requests sent between two marks.
type Window struct {
	Sent, Lost  int
	MovedFlows  int                  // flows whose server changed in the window
	MovedTwice  int                  // of those, flows whose server changed more than once
	LostUnmoved int                  // lost requests of the other flows: must be 0
	First       map[string]time.Time // server -> first answer heard from it
	ByServer    map[string]int       // answers
	LastLost    time.Time            // send time of the last lost request
	Rate        float64              // requests per second
}

// Between reports on the requests sent from a to b; it waits until each of
// them is answered or its grace is over.
func (s *Steady) Between(a, b Mark) Window {
	s.settle(a, b)
	w := Window{First: map[string]time.Time{}, ByServer: map[string]int{}}
	for i, f := range s.flows {
		f.mu.Lock()
		w.add(f.sent, a.seq[i], b.seq[i])
		f.mu.Unlock()
	}
	w.Rate = float64(w.Sent) / b.At.Sub(a.At).Seconds()
	return w
}

// add counts one flow. The answer before the window tells where the flow was.
func (w *Window) add(sent []request, from, to int) {
	before := ""
	for i := from - 1; i >= 0 && before == ""; i-- {
		before = sent[i].server
	}
	lost, moves := 0, 0
	for _, r := range sent[from:to] {
		w.Sent++
		if r.server == "" {
			lost++
			if r.at.After(w.LastLost) {
				w.LastLost = r.at
			}
			continue
		}
		if before != "" && r.server != before {
			moves++
		}
		before = r.server
		w.ByServer[r.server]++
		if t, ok := w.First[r.server]; !ok || r.heard.Before(t) {
			w.First[r.server] = r.heard
		}
	}
	w.Lost += lost
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
		for _, r := range f.sent[a.seq[i]:b.seq[i]] {
			if r.server == "" {
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
