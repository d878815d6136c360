// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestProber(t *testing.T) {
	const interval = 100 * time.Millisecond
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	p := prober{interval: interval, multiplier: 3}
	expect := func(what string, want status) {
		t.Helper()
		if p.status != want {
			t.Errorf("%s: %v, want %v", what, p.status, want)
		}
	}
	p.sent(1, at(0), false)
	p.judge(at(99))
	expect("first probe under way", unheard)
	p.answer(77)
	expect("a reply to somebody else", unheard)
	p.answer(1)
	expect("a reply", alive)

	p.sent(2, at(100), false)
	p.sent(3, at(200), false)
	p.sent(4, at(300), false)
	p.answer(1)
	p.judge(at(399))
	expect("the third has not had its interval", alive)
	if lost := p.judge(at(400)); lost != 1 {
		t.Errorf("%d more lost, want 1", lost)
	}
	expect("three in vain", dead)
	p.answer(4)
	expect("a late reply", dead)
	p.sent(5, at(500), true)
	p.sent(6, at(600), false)
	if answered := p.answer(6); answered != 1 {
		t.Errorf("%d answered, want 1", answered)
	}
	expect("the first reply after the death", alive)
}

// TestProberWantsTime: many lost probes in a short time are no death, nor are few
// in a long time.
func TestProberWantsTime(t *testing.T) {
	const interval = 100 * time.Millisecond
	began := time.Now()
	p := prober{interval: interval, multiplier: 3, status: alive}
	for i := range 50 {
		p.sent(uint64(i+1), began.Add(time.Duration(i)*time.Millisecond), false)
	}
	if p.judge(began.Add(199 * time.Millisecond)); p.status != alive {
		t.Error("dead in less than two intervals")
	}
	p = prober{interval: interval, multiplier: 3, status: alive}
	p.sent(1, began, false)
	p.sent(2, began.Add(time.Hour), false)
	if p.judge(began.Add(2 * time.Hour)); p.status != alive {
		t.Error("dead after two probes")
	}
}

// TestProberIsBounded: the memory of a node that is dead for long.
func TestProberIsBounded(t *testing.T) {
	p := prober{interval: time.Second, multiplier: 4, status: dead}
	now := time.Now()
	for nonce := range uint64(10000) {
		now = now.Add(time.Second)
		p.sent(nonce, now, false)
		p.judge(now)
	}
	if len(p.pending) > 64 {
		t.Errorf("remembers %d probes", len(p.pending))
	}
	if p.answer(9999); p.status != alive {
		t.Error("the newest probe was forgotten")
	}
}

// TestStarvation stops the process at random, also for long, wherever it probes.
func TestStarvation(t *testing.T) {
	simulate(t, func(t *testing.T, n *network, a, b *node) {
		ta, _ := pair(t, a, b, 5)
		time.Sleep(time.Minute) // all states are acknowledged: who waits for the lock would stop the clock
		a.takeCalls()
		n.impair(0, 0.1, 20*time.Millisecond)
		random := rand.New(rand.NewPCG(n.seed, 1))
		a.mu.Lock()
		a.stall = func() {
			switch random.IntN(4) {
			case 0:
				time.Sleep(time.Duration(random.Int64N(int64(5 * time.Second))))
			case 1:
				time.Sleep(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
			}
		}
		a.mu.Unlock()
		time.Sleep(6 * time.Hour)
		a.mu.Lock()
		a.stall = nil
		a.mu.Unlock()
		time.Sleep(10 * time.Second)
		if calls := a.takeCalls(); len(calls) > 0 || !a.sees(ta, true, true)() {
			t.Errorf("starvation looks like death: %v", calls)
		}
	})
}
