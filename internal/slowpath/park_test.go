// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/packet"
)

// forwarded is what later makes, as it arrives at the target.
func forwarded(ip packet.IP, id uint32, n int) sent {
	ip.TTL = 8
	return sent{leg, later(toTarget, ip, id, n)}
}

func TestParkAndRelease(t *testing.T) {
	for _, ip := range []packet.IP{client4, client6} {
		w := newWorld()
		e := newEngine(t, w, nil)
		for _, ev := range []Event{park(ip, 1, 3), park(ip, 2, 1), park(ip, 1, 1), park(ip, 1, 2)} {
			e.handle(ev, start)
		}
		if got := e.Counters(); len(w.sent) > 0 || got != (Counters{Held: 4}) || !w.waiting {
			t.Errorf("sent %x, counted %+v, waiting %v", w.sent, got, w.waiting)
		}
		e.handle(release(ip, 1), start) // the program does not know it
		e.handle(release(ip, 3), start)
		w.verdicts[key(ip, 1)] = FragmentVerdict{Target: target}
		e.handle(release(ip, 1), start)
		want := []sent{forwarded(ip, 1, 3), forwarded(ip, 1, 1), forwarded(ip, 1, 2)}
		if diff := cmp.Diff(want, w.takeSent()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if got := e.Counters(); got != (Counters{Held: 1, Released: 3, Forwarded: 3}) || !w.waiting {
			t.Errorf("counted %+v, waiting %v", got, w.waiting)
		}
		w.verdicts[key(ip, 2)] = FragmentVerdict{Target: 8}
		e.handle(release(ip, 2), start)
		length := uint64(len(park(ip, 1, 1).Frame))
		if diff := cmp.Diff(map[uint16]Traffic{target: {3, 3 * length}, 8: {1, length}}, e.traffic); diff != "" {
			t.Errorf("traffic: (-want +got)\n%s", diff)
		}
		e.Forget(8)
		if got := e.traffic; len(got) != 1 || w.waiting || e.held.used != 0 || len(e.held.byKey) != 0 {
			t.Errorf("traffic %v, waiting %v, holds %d bytes of %d packets", got, w.waiting, e.held.used, len(e.held.byKey))
		}
	}
}

// TestParkOrder is the order on which the hand-over with the program rests.
func TestParkOrder(t *testing.T) {
	w := newWorld()
	e := newEngine(t, w, nil)
	e.handle(park(client4, 1, 1), start)
	e.handle(park(client4, 1, 2), start)
	w.verdicts[key(client4, 1)] = FragmentVerdict{Target: target}
	e.handle(release(client4, 1), start)
	want := []string{"waiting true", "lookup 1", "lookup 1", "lookup 1", "waiting false"}
	if diff := cmp.Diff(want, w.takeCalls()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestParkRace has the first fragment come at the two moments that matter:
// before the engine waits (then no Release comes, and the engine must find the
// entry) and right after (then a Release comes).
func TestParkRace(t *testing.T) {
	w := newWorld()
	first := func() { w.verdicts[key(client4, 1)] = FragmentVerdict{Target: target} }
	e := newEngine(t, w, nil)
	w.onWait = func(on bool) {
		if on {
			first()
		}
	}
	e.handle(park(client4, 1, 1), start)
	if len(w.takeSent()) != 1 || w.waiting {
		t.Errorf("not sent at once; waiting %v", w.waiting)
	}
	e.handle(release(client4, 1), start) // the program had seen it waiting
	if got := e.Counters(); len(w.sent) > 0 || got != (Counters{Forwarded: 1}) {
		t.Errorf("sent %x, counted %+v", w.sent, got)
	}
}

// TestParkLostRelease sends what is held before what comes next.
func TestParkLostRelease(t *testing.T) {
	w := newWorld()
	e := newEngine(t, w, nil)
	e.handle(park(client4, 1, 2), start)
	e.handle(park(client4, 1, 1), start)
	w.verdicts[key(client4, 1)] = FragmentVerdict{Target: target}
	e.handle(park(client4, 1, 3), start)
	want := []sent{forwarded(client4, 1, 2), forwarded(client4, 1, 1), forwarded(client4, 1, 3)}
	if diff := cmp.Diff(want, w.takeSent()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	e.handle(park(client4, 2, 1), start)
	w.verdicts[key(client4, 2)] = FragmentVerdict{Target: target}
	e.expire(start.Add(DefaultHold))
	if diff := cmp.Diff([]sent{forwarded(client4, 2, 1)}, w.takeSent()); diff != "" {
		t.Errorf("at the end of its time: (-want +got)\n%s", diff)
	}
	if got := e.Counters(); got != (Counters{Released: 3, Forwarded: 4}) || w.waiting {
		t.Errorf("counted %+v, waiting %v", got, w.waiting)
	}
}

func TestVerdicts(t *testing.T) {
	longer := func(ip packet.IP) []byte { return ip.Packet(tagged, packet.UDP, make([]byte, 800)) }
	last4, df, cuttable, long6 := client4, client4, client4, client6
	last4.TTL, last4.Fragment = 1, 5
	df.Fragment, cuttable.Fragment = 0x4005, 5
	long6.Extensions = []packet.Extension{packet.FragmentHeader(1, true, 1)}
	pieces := cuttable
	pieces.TTL = 8
	piece := func(place uint16, size int) sent {
		pieces.Fragment = place
		return sent{leg, pieces.Packet(toTarget, packet.UDP, make([]byte, size))}
	}
	answered := func(ip packet.IP) sent {
		ip.TTL = 64
		return sent{external, later(packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: tags}, ip, 1, 1)}
	}
	grouped := tagged
	grouped.Dst[0] |= 1
	for name, c := range map[string]struct {
		frame   []byte
		verdict FragmentVerdict
		want    []sent
		count   Counters
	}{
		"target, tags":   {later(tagged, client4, 1, 1), FragmentVerdict{Target: target}, []sent{forwarded(client4, 1, 1)}, Counters{Forwarded: 1}},
		"drop":           {later(tagged, client4, 1, 1), FragmentVerdict{Drop: true}, nil, Counters{Dropped: 1}},
		"echo":           {later(tagged, client4, 1, 1), FragmentVerdict{Echo: true}, []sent{answered(reply4)}, Counters{Echoed: 1}},
		"echo, IPv6":     {later(tagged, client6, 1, 1), FragmentVerdict{Echo: true}, []sent{answered(reply6)}, Counters{Echoed: 1}},
		"echo, group":    {later(grouped, client4, 1, 1), FragmentVerdict{Echo: true}, nil, Counters{Undeliverable: 1}},
		"unknown target": {later(tagged, client4, 1, 1), FragmentVerdict{Target: 9}, nil, Counters{Undeliverable: 1}},
		"TTL":            {longer(last4), FragmentVerdict{Target: 8}, nil, Counters{Undeliverable: 1}},
		"DF":             {longer(df), FragmentVerdict{Target: target}, nil, Counters{Undeliverable: 1}},
		"too long, IPv6": {longer(long6), FragmentVerdict{Target: target}, nil, Counters{Undeliverable: 1}},
		"cut": {
			longer(cuttable), FragmentVerdict{Target: target}, []sent{piece(5|packet.FragmentMF, 576), piece(5+72, 224)},
			Counters{Cut: 1, Pieces: 2, Forwarded: 1},
		},
	} {
		w := newWorld()
		w.verdicts[key(client4, 1)] = c.verdict
		e := newEngine(t, w, nil)
		ev := event(Park, c.frame)
		ev.Key = key(client4, 1)
		e.handle(ev, start)
		if diff := cmp.Diff(c.want, w.takeSent()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if got := e.Counters(); got != c.count {
			t.Errorf("%s: counted %+v, want %+v", name, got, c.count)
		}
	}
}

func TestVerdictSendFails(t *testing.T) {
	for name, c := range map[string]struct {
		verdict FragmentVerdict
		change  func(*world)
		count   Counters
	}{
		"target": {FragmentVerdict{Target: target}, func(w *world) { w.down[leg] = true }, Counters{SendErrors: 1}},
		"echo":   {FragmentVerdict{Echo: true}, func(w *world) { w.down[external] = true }, Counters{SendErrors: 1}},
		"cut": {FragmentVerdict{Target: target}, func(w *world) {
			w.down[leg] = true
			w.hops[target] = NextHop{Interface: leg, MTU: 30}
		}, Counters{CutFailed: 1, SendErrors: 1}},
	} {
		w := newWorld()
		c.change(w)
		w.verdicts[key(client4, 1)] = c.verdict
		e := newEngine(t, w, nil)
		e.handle(park(client4, 1, 1), start)
		if got := e.Counters(); got != c.count || len(e.traffic) > 0 {
			t.Errorf("%s: counted %+v and %v, want %+v", name, got, e.traffic, c.count)
		}
	}
}

func TestHoldLimits(t *testing.T) {
	size := len(park(client4, 1, 1).Frame)
	for name, c := range map[string]struct {
		change func(*Config)
		events []Event
		held   uint64
	}{
		"fragments of a packet": {
			func(c *Config) { c.MaxPerPacket = 2 },
			[]Event{park(client4, 1, 1), park(client4, 1, 2), park(client4, 1, 3), park(client4, 2, 1)}, 3,
		},
		"packets": {
			func(c *Config) { c.MaxPackets = 2 },
			[]Event{park(client4, 1, 1), park(client4, 2, 1), park(client4, 3, 1), park(client4, 1, 2)}, 3,
		},
		"bytes": {
			func(c *Config) { c.MaxBytes = 3*size + 1 },
			[]Event{park(client4, 1, 1), park(client4, 2, 1), park(client4, 2, 2), park(client4, 3, 1)}, 3,
		},
	} {
		w := newWorld()
		e := newEngine(t, w, func(cfg *Config) {
			c.change(cfg)
			cfg.Hold = time.Minute
		})
		for _, ev := range c.events {
			e.handle(ev, start)
		}
		if got := e.Counters(); got != (Counters{Held: c.held, Refused: 1}) {
			t.Errorf("%s: counted %+v", name, got)
		}
		// The room comes back.
		e.expire(start.Add(time.Minute - 1))
		if got := e.Counters(); got.Held != c.held {
			t.Errorf("%s: counted %+v too early", name, got)
		}
		e.handle(park(client4, 9, 1), start.Add(time.Minute))
		if got := e.Counters(); got != (Counters{Held: 1, Refused: 1, Expired: c.held}) || e.held.used != size {
			t.Errorf("%s: counted %+v, %d bytes", name, got, e.held.used)
		}
	}
}

// TestHoldKeepsNoBuffer has the caller's frame lie in a large buffer.
func TestHoldKeepsNoBuffer(t *testing.T) {
	w := newWorld()
	e := newEngine(t, w, nil)
	ev := park(client4, 1, 1)
	buffer := append(make([]byte, 0, 1<<16), ev.Frame...)
	ev.Frame = buffer
	e.handle(ev, start)
	clear(buffer)
	w.verdicts[key(client4, 1)] = FragmentVerdict{Target: target}
	e.handle(release(client4, 1), start)
	if diff := cmp.Diff([]sent{forwarded(client4, 1, 1)}, w.takeSent()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
