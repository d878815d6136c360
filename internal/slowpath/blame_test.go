// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/packet"
)

func TestErrors(t *testing.T) {
	big4 := client4.Packet(tagged, packet.UDP, client4.UDP(1, 2, make([]byte, 2000)))
	for name, c := range map[string]struct {
		event  Event
		source packet.IP // of the error, and its destination
		code   [2]byte
		rest   []byte
		out    int
		link   packet.Ethernet
	}{
		"expired": {
			event(TimeExceeded, client4.Packet(fromClient, packet.UDP, client4.UDP(1, 2, nil))),
			reply4, [2]byte{11, 0}, []byte{0, 0, 0, 0}, external, toClient,
		},
		"expired, IPv6, tags": {
			event(TimeExceeded, client6.Packet(tagged, packet.TCP, client6.TCP(1, 2, 2, nil))),
			reply6, [2]byte{3, 0}, []byte{0, 0, 0, 0}, external, packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: tags},
		},
		"too big, tags": {
			with(event(TooBig, big4), func(ev *Event) { ev.MTU, ev.Frame = 1400, ev.Frame[:1500] }),
			reply4, [2]byte{3, 4}, []byte{0, 0, 5, 0x78}, external, packet.Ethernet{Dst: routerMAC, Src: extMAC, Tags: tags},
		},
		"too big, IPv6": {
			with(event(TooBig, client6.Packet(fromClient, packet.UDP, make([]byte, 1500))), func(ev *Event) { ev.MTU = 100 }),
			reply6, [2]byte{2, 0}, []byte{0, 0, 5, 0}, external, toClient,
		},
		"expired reply": {
			with(event(TimeExceeded, reply4.Packet(fromTarget, packet.ICMP, make([]byte, 8))), fromLeg),
			packet.IP{Src: legGateway4, Dst: reply4.Src}, [2]byte{11, 0}, []byte{0, 0, 0, 0}, leg, toTarget,
		},
		"too big reply, IPv6": {
			with(event(TooBig, reply6.Packet(fromTarget, packet.UDP, make([]byte, 1500))), fromLeg),
			packet.IP{Src: legGateway6, Dst: reply6.Src}, [2]byte{2, 0}, []byte{0, 0, 5, 0}, leg, toTarget,
		},
	} {
		w := newWorld()
		e := newEngine(t, w, nil)
		cause := slices.Clone(c.event.Frame[c.event.L3:])
		e.handle(c.event, start)
		quote := cause[:min(len(cause), map[bool]int{true: 576 - 28, false: 1280 - 48}[c.source.Src.Is4()])]
		c.source.TTL = 64
		proto, message := c.source.ICMP(c.code[0], c.code[1], append(c.rest, quote...))
		want := c.source.Packet(c.link, proto, message)
		if c.source.Src.Is4() {
			// The builder knows neither type of service nor DF.
			want[c.event.L3+1], want[c.event.L3+6] = 0xc0, 0x40
			h := want[c.event.L3:][:20]
			h[10], h[11] = 0, 0
			sum := packet.Checksum(0, h)
			h[10], h[11] = byte(sum>>8), byte(sum)
		}
		if diff := cmp.Diff([]sent{{c.out, want}}, w.takeSent()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if got := e.Counters(); got.TimeExceeded+got.TooBig != 1 || (got.TooBig == 1) != (c.event.Kind == TooBig) {
			t.Errorf("%s: counted %+v", name, got)
		}
	}
}

func with(ev Event, change func(*Event)) Event {
	change(&ev)
	return ev
}

func fromLeg(ev *Event) { ev.Reply, ev.Leg = true, leg }

func TestErrorsNotAllowed(t *testing.T) {
	groupDst, groupSrc := fromClient, fromClient
	groupDst.Dst[0] |= 1
	groupSrc.Src[0] |= 1
	_, unreachable := client4.ICMP(3, 1, make([]byte, 32))
	pretender := packet.IP{Src: legGateway4, Dst: client4.Src, TTL: 1}
	udp := client4.UDP(1, 2, nil)
	for name, ev := range map[string]Event{
		"to a group of stations":   event(TimeExceeded, client4.Packet(groupDst, packet.UDP, udp)),
		"from a group of stations": event(TimeExceeded, client4.Packet(groupSrc, packet.UDP, udp)),
		"an ICMP error":            event(TooBig, client4.Packet(fromClient, packet.ICMP, unreachable)),
		"a later fragment":         event(TooBig, later(fromClient, client6, 1, 1)),
		"from here":                with(event(TimeExceeded, pretender.Packet(fromTarget, packet.UDP, udp)), fromLeg),
	} {
		w := newWorld()
		e := newEngine(t, w, nil)
		e.handle(ev, start)
		if got := e.Counters(); len(w.sent) > 0 || got != (Counters{NotAllowed: 1}) {
			t.Errorf("%s: sent %x, counted %+v", name, w.sent, got)
		}
	}
}

func TestMalformedEvents(t *testing.T) {
	good := client4.Packet(fromClient, packet.UDP, client4.UDP(1, 2, nil))
	for name, ev := range map[string]Event{
		"no kind":         with(event(0, good), func(*Event) {}),
		"empty":           {Kind: TimeExceeded, L3: 14},
		"offset":          with(event(TimeExceeded, good), func(ev *Event) { ev.L3 = 18 }),
		"no packet":       with(event(TimeExceeded, good), func(ev *Event) { ev.Frame = ev.Frame[:14] }),
		"family":          with(event(TimeExceeded, good), func(ev *Event) { ev.Frame[14] = 0x65 }),
		"ARP":             with(event(TimeExceeded, good), func(ev *Event) { ev.Frame[13] = 6 }),
		"park, truncated": with(event(Park, good), func(ev *Event) { ev.Length++ }),
		"park, length":    with(event(Park, good), func(ev *Event) { ev.Frame[17] = 200 }),
	} {
		w := newWorld()
		e := newEngine(t, w, nil)
		e.handle(ev, start)
		if got := e.Counters(); len(w.sent) > 0 || got != (Counters{Malformed: 1}) {
			t.Errorf("%s: sent %x, counted %+v", name, w.sent, got)
		}
	}
}

func TestErrorRate(t *testing.T) {
	w := newWorld()
	e := newEngine(t, w, func(c *Config) { c.ErrorRate, c.ErrorBurst = 10, 3 })
	ev := event(TimeExceeded, client4.Packet(fromClient, packet.UDP, client4.UDP(1, 2, nil)))
	step := func(after time.Duration, events, want int) {
		t.Helper()
		for range events {
			e.handle(ev, start.Add(after))
		}
		if got := len(w.takeSent()); got != want {
			t.Errorf("after %v: %d of %d sent, want %d", after, got, events, want)
		}
	}
	step(0, 5, 3)
	step(99*time.Millisecond, 1, 0)
	step(101*time.Millisecond, 2, 1)
	step(50*time.Millisecond, 1, 0) // a clock that went back
	step(10*time.Second, 5, 3)
	if got := e.Counters(); got.TimeExceeded != 7 || got.RateLimited != 7 {
		t.Errorf("counted %+v", got)
	}
	// What is not allowed costs nothing.
	for range 5 {
		e.handle(event(TooBig, later(fromClient, client4, 1, 1)), start.Add(20*time.Second))
	}
	step(20*time.Second, 5, 3)
}

func TestErrorSendFails(t *testing.T) {
	w := newWorld()
	w.down[external] = true
	e := newEngine(t, w, nil)
	frame := client4.Packet(fromClient, packet.UDP, client4.UDP(1, 2, nil))
	ev := event(TimeExceeded, frame)
	e.handle(ev, start)
	if got := e.Counters(); got != (Counters{SendErrors: 1}) {
		t.Errorf("counted %+v", got)
	}
	if !bytes.Equal(ev.Frame, frame) {
		t.Error("the frame was changed")
	}
}
