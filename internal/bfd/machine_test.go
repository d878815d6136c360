// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// bench is a session whose time and neighbour are the test's.
type bench struct {
	t   *testing.T
	s   *Session
	now time.Time
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t, now: time.Unix(1000, 0)}
	var err error
	if b.s, err = NewSession(cfg, 7, b.now, rand.New(rand.NewPCG(1, 2)).Uint64); err != nil {
		t.Fatal(err)
	}
	return b
}

func usual() Config { return Config{MinTx: 50 * ms, MinRx: 60 * ms, Multiplier: 3} }

// from is a packet of the neighbour, whose session is usual from its side.
func from(state State) Packet {
	p := Packet{State: state, Multiplier: 4, MyDiscriminator: 9, YourDiscriminator: 7, DesiredMinTx: 50 * ms, RequiredMinRx: 80 * ms}
	if state == Down {
		p.YourDiscriminator = 0
	}
	return p
}

func (b *bench) receive(p Packet) Reason {
	raw := p.Append(nil)
	return b.s.Receive(&p, raw, b.now)
}

// sent is what goes out now.
func (b *bench) sent() (packets []Packet) {
	b.t.Helper()
	for raw := b.s.Transmit(nil, b.now); raw != nil; raw = b.s.Transmit(nil, b.now) {
		var p Packet
		if reason := p.Decode(raw); reason != Accepted {
			b.t.Fatalf("we sent a packet that is discarded: %v", reason)
		}
		packets = append(packets, p)
	}
	return packets
}

// up takes the session up and ends its poll sequence.
func (b *bench) up() {
	b.t.Helper()
	b.receive(from(Down))
	b.receive(from(Init))
	b.confirm()
	if b.s.State() != Up || b.s.Status().Polling {
		b.t.Fatalf("not up: %+v", b.s.Status())
	}
}

// confirm answers polls until none is sent.
func (b *bench) confirm() {
	for range 3 {
		for _, p := range b.sent() {
			if p.Poll {
				final := from(Up)
				final.Final = true
				b.receive(final)
			}
		}
	}
}

// Every state meets every state of the neighbour (6.2 and 6.8.6).
func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		local, remote, want State
		diag                Diagnostic
	}{
		{Down, AdminDown, Down, NoDiagnostic}, {Down, Down, Init, NoDiagnostic},
		{Down, Init, Up, NoDiagnostic}, {Down, Up, Down, NoDiagnostic},
		{Init, AdminDown, Down, NeighborSignaledDown}, {Init, Down, Init, NoDiagnostic},
		{Init, Init, Up, NoDiagnostic}, {Init, Up, Up, NoDiagnostic},
		{Up, AdminDown, Down, NeighborSignaledDown}, {Up, Down, Down, NeighborSignaledDown},
		{Up, Init, Up, NoDiagnostic}, {Up, Up, Up, NoDiagnostic},
		{AdminDown, AdminDown, AdminDown, AdministrativelyDown}, {AdminDown, Down, AdminDown, AdministrativelyDown},
		{AdminDown, Init, AdminDown, AdministrativelyDown}, {AdminDown, Up, AdminDown, AdministrativelyDown},
	} {
		t.Run(fmt.Sprintf("%v meets %v", c.local, c.remote), func(t *testing.T) {
			cfg := usual()
			cfg.AdminDown = c.local == AdminDown
			b := newBench(t, cfg)
			if c.local == Init || c.local == Up {
				b.receive(from(Down))
			}
			if c.local == Up {
				b.receive(from(Init))
			}
			reason := b.receive(from(c.remote))
			if got := b.s.Status(); got.State != c.want || got.Diag != c.diag || got.RemoteState != c.remote {
				t.Errorf("is %v, %v (neighbour %v), not %v, %v", got.State, got.Diag, got.RemoteState, c.want, c.diag)
			}
			if want := c.local == AdminDown; (reason == LocalAdminDown) != want {
				t.Errorf("discarded: %v", reason)
			}
		})
	}
}

func TestDetection(t *testing.T) {
	for _, state := range []State{Init, Up} {
		b := newBench(t, usual())
		b.receive(from(Down))
		if state == Up {
			b.up()
		}
		b.sent()
		detection := b.s.DetectionTime()
		if want := 4 * max(b.s.rxRequired, 50*ms); detection != want {
			t.Errorf("%v: detection time is %v, not 4 x max(our RequiredMinRx, their DesiredMinTx) = %v", state, detection, want)
		}
		start := b.now
		b.now = start.Add(detection - time.Microsecond)
		if b.s.Expire(b.now) {
			t.Errorf("%v: expired too early", state)
		}
		if at := b.s.Deadline(b.now); at.After(start.Add(detection)) {
			t.Errorf("%v: wakes up at %v only", state, at)
		}
		b.now = start.Add(detection)
		if !b.s.Expire(b.now) || b.s.State() != Down || b.s.Status().Diag != DetectionTimeExpired || b.s.remoteDiscr != 0 {
			t.Errorf("%v: after the detection time %+v", state, b.s.Status())
		}
		if p := b.sent(); len(p) != 1 || p[0].State != Down || p[0].Diag != DetectionTimeExpired || p[0].YourDiscriminator != 0 || p[0].DesiredMinTx < SlowInterval {
			t.Errorf("%v: says %+v", state, p)
		}
	}
}

// While we stand still the detection time does, for one more of it at most, and a
// packet ends the respite.
func TestForgiven(t *testing.T) {
	b := newBench(t, usual())
	b.up()
	start, detection := b.now, b.s.DetectionTime()
	expired := func(after time.Duration) bool { return b.s.Expire(start.Add(after)) }
	b.s.Forgive(detection / 2)
	if expired(detection*3/2 - time.Microsecond) {
		t.Error("expired though half of the detection time is forgiven")
	}
	b.now = start.Add(detection)
	b.receive(from(Up))
	start = b.now
	for range 5 {
		b.s.Forgive(detection / 2)
	}
	if expired(2*detection - time.Microsecond) {
		t.Error("expired though a detection time is forgiven")
	}
	if b.s.Expire(start.Add(2 * detection)); b.s.State() != Down {
		t.Error("more than a detection time was forgiven")
	}
}

// Until up, packets are a second apart (6.8.3); afterwards by the slower of what
// we want and what the neighbour takes, jittered (6.8.7).
func TestTransmitInterval(t *testing.T) {
	for _, c := range []struct {
		multiplier uint8
		up         bool
		least      time.Duration
		most       time.Duration
	}{
		{3, false, 750 * ms, 1000 * ms}, {1, false, 750 * ms, 900 * ms},
		{3, true, 60 * ms, 80 * ms}, {1, true, 60 * ms, 72 * ms},
	} {
		cfg := usual()
		cfg.Multiplier = c.multiplier
		b := newBench(t, cfg)
		if c.up {
			b.up()
		}
		b.sent()
		b.s.lastReceived = b.now.Add(time.Hour) // no expiry here
		shortest, longest := time.Hour, time.Duration(0)
		for range 2000 {
			at := b.s.Deadline(b.now)
			gap := at.Sub(b.now)
			shortest, longest = min(shortest, gap), max(longest, gap)
			b.now = at.Add(-1)
			if len(b.sent()) != 0 {
				t.Fatal("sent before the interval has passed")
			}
			b.now = at
			if len(b.sent()) != 1 {
				t.Fatal("not sent when the interval has passed")
			}
		}
		if shortest < c.least || longest > c.most || longest-shortest < (c.most-c.least)/2 {
			t.Errorf("multiplier %d, up %v: from %v to %v, not from %v to %v", c.multiplier, c.up, shortest, longest, c.least, c.most)
		}
	}
}

func TestPollOnTimerChange(t *testing.T) {
	b := newBench(t, usual())
	b.up()
	if b.s.txDesired != 50*ms || b.s.rxRequired != 60*ms {
		t.Fatalf("up with %v and %v", b.s.txDesired, b.s.rxRequired)
	}
	since := b.s.Status().Since
	slower, faster := usual(), usual()
	slower.MinTx, slower.MinRx = 500*ms, 600*ms
	faster.MinTx, faster.MinRx = 10*ms, 20*ms
	configure := func(cfg Config) Packet {
		t.Helper()
		if err := b.s.Configure(cfg, b.now); err != nil {
			t.Fatal(err)
		}
		packets := b.sent()
		if len(packets) != 1 || !packets[0].Poll || packets[0].Final || packets[0].DesiredMinTx != cfg.MinTx || packets[0].RequiredMinRx != cfg.MinRx {
			t.Fatalf("changed to %+v, says %+v", cfg, packets)
		}
		return packets[0]
	}
	configure(slower)
	if b.s.txDesired != 50*ms || b.s.rxRequired != 600*ms {
		t.Errorf("before the neighbour confirms it sends every %v, expects every %v", b.s.txDesired, b.s.rxRequired)
	}
	// A second change waits for the first one's confirmation.
	if err := b.s.Configure(faster, b.now); err != nil {
		t.Fatal(err)
	}
	if p := b.sent(); len(p) != 1 || p[0].DesiredMinTx != slower.MinTx {
		t.Errorf("two poll sequences at once: %+v", p)
	}
	final := from(Up)
	final.Final = true
	b.receive(final)
	if p := b.sent(); len(p) != 1 || !p[0].Poll || p[0].DesiredMinTx != faster.MinTx {
		t.Errorf("second poll sequence: %+v", p)
	}
	if b.s.txDesired != 10*ms || b.s.rxRequired != 600*ms {
		t.Errorf("before the neighbour confirms it sends every %v, expects every %v", b.s.txDesired, b.s.rxRequired)
	}
	b.receive(final)
	if b.s.txDesired != 10*ms || b.s.rxRequired != 20*ms || b.s.Status().Polling {
		t.Errorf("confirmed: it sends every %v, expects every %v", b.s.txDesired, b.s.rxRequired)
	}
	b.receive(final) // nobody asked
	if status := b.s.Status(); status.State != Up || !status.Since.Equal(since) || status.Flaps != 0 {
		t.Errorf("flapped: %+v", status)
	}
}

func TestAnswersPolls(t *testing.T) {
	for _, state := range []State{Init, Up} {
		b := newBench(t, usual())
		b.receive(from(Down))
		if state == Up {
			b.up()
		}
		b.sent()
		poll := from(state)
		poll.Poll, poll.RequiredMinRx, poll.Demand = true, 0, true
		b.receive(poll)
		packets := b.sent()
		if len(packets) == 0 || !packets[0].Final || packets[0].Poll {
			t.Errorf("%v: answered %+v", state, packets)
		}
	}
}

// What keeps a session from sending periodically (6.8.7).
func TestQuiet(t *testing.T) {
	passive := usual()
	passive.Passive = true
	b := newBench(t, passive)
	if p := b.sent(); p != nil || !b.s.Deadline(b.now).IsZero() {
		t.Errorf("passive and says first %+v", p)
	}
	b.receive(from(Down))
	if p := b.sent(); len(p) != 1 || p[0].YourDiscriminator != 9 {
		t.Errorf("passive and asked: %+v", p)
	}

	for name, quiet := range map[string]func(*Packet){
		"RequiredMinRx 0": func(p *Packet) { p.RequiredMinRx = 0 },
		"demand mode":     func(p *Packet) { p.Demand = true },
	} {
		b := newBench(t, usual())
		b.up()
		p := from(Up)
		quiet(&p)
		b.receive(p)
		b.now = b.now.Add(100 * ms)
		if p := b.sent(); p != nil {
			t.Errorf("%s: sent %+v", name, p)
		}
		if b.s.Status().TxInterval != 0 {
			t.Errorf("%s: interval %v", name, b.s.Status().TxInterval)
		}
		changed := usual()
		changed.MinRx = 70 * ms
		if err := b.s.Configure(changed, b.now); err != nil {
			t.Fatal(err)
		}
		if p := b.sent(); len(p) != 1 || !p[0].Poll {
			t.Errorf("%s: a change is told by %+v", name, p)
		}
		b.receive(from(Up)) // ends it
		b.now = b.now.Add(100 * ms)
		if p := b.sent(); len(p) != 1 {
			t.Errorf("%s is over: sent %+v", name, p)
		}
	}
}

func TestAdminDown(t *testing.T) {
	b := newBench(t, usual())
	b.up()
	cfg := usual()
	cfg.AdminDown = true
	if err := b.s.Configure(cfg, b.now); err != nil {
		t.Fatal(err)
	}
	if p := b.sent(); len(p) != 1 || p[0].State != AdminDown || p[0].Diag != AdministrativelyDown {
		t.Errorf("says %+v", p)
	}
	if reason := b.receive(from(Up)); reason != LocalAdminDown || b.s.State() != AdminDown {
		t.Errorf("%v, %v", reason, b.s.State())
	}
	if err := b.s.Configure(usual(), b.now); err != nil {
		t.Fatal(err)
	}
	b.up()
}

func TestPacketFields(t *testing.T) {
	cfg := usual()
	cfg.ControlPlaneIndependent = true
	b := newBench(t, cfg)
	p := b.sent()
	want := Packet{State: Down, ControlPlaneIndependent: true, Multiplier: 3, MyDiscriminator: 7, DesiredMinTx: time.Second, RequiredMinRx: 60 * ms}
	if len(p) != 1 || fmt.Sprint(p[0]) != fmt.Sprint(want) {
		t.Errorf("first packet is %+v, not %+v", p, want)
	}
}
