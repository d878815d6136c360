// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/packet"
)

func TestCut(t *testing.T) {
	payload := []byte("0123456789abcdef0123456789abcdef0123456789abcdef")
	udp := client4.UDP(1, 2, payload)
	piece := func(eth packet.Ethernet, ip packet.IP, place uint16, data []byte) []byte {
		ip.TTL, ip.Fragment = 8, place
		return ip.Packet(eth, packet.UDP, data)
	}
	for name, c := range map[string]struct {
		event Event
		want  []sent
	}{
		"to the target": {
			with(event(Fragment, client4.Packet(tagged, packet.UDP, udp)), func(ev *Event) { ev.MTU, ev.Target = 55, target }),
			[]sent{
				{leg, piece(toTarget, client4, packet.FragmentMF, udp[:32])},
				{leg, piece(toTarget, client4, 4, udp[32:])},
			},
		},
		"to the gateway, with padding": {
			with(event(Fragment, append(reply4.Packet(fromTarget, packet.UDP, udp), 1, 2, 3)), func(ev *Event) { fromLeg(ev); ev.MTU = 55 }),
			[]sent{
				{external, piece(toClient, reply4, packet.FragmentMF, udp[:32])},
				{external, piece(toClient, reply4, 4, udp[32:])},
			},
		},
		"one that fits by now": {
			with(event(Fragment, client4.Packet(fromClient, packet.UDP, udp)), func(ev *Event) { ev.MTU, ev.Target = 0, 8 }),
			[]sent{{leg, piece(toTarget, client4, 0, udp)}},
		},
	} {
		w := newWorld()
		e := newEngine(t, w, nil)
		e.handle(c.event, start)
		if diff := cmp.Diff(c.want, w.takeSent()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		pieces := uint64(len(c.want))
		if pieces == 1 {
			pieces = 0
		}
		if got := e.Counters(); got != (Counters{Cut: 1, Pieces: pieces}) {
			t.Errorf("%s: counted %+v", name, got)
		}
		if got := e.traffic; len(got) > 0 {
			t.Errorf("%s: traffic %v", name, got)
		}
	}
}

func TestCutFails(t *testing.T) {
	udp := client4.UDP(1, 2, make([]byte, 100))
	good := with(event(Fragment, client4.Packet(fromClient, packet.UDP, udp)), func(ev *Event) { ev.MTU, ev.Target = 68, target })
	df, last := client4, client4
	df.Fragment, last.TTL = 0x4000, 1
	of := func(ip packet.IP) func(*Event) {
		return func(ev *Event) { ev.Frame = ip.Packet(fromClient, packet.UDP, udp); ev.Length = len(ev.Frame) }
	}
	for name, c := range map[string]struct {
		change func(*Event)
		world  func(*world)
		errors uint64
	}{
		"truncated":        {func(ev *Event) { ev.Length++ }, nil, 0},
		"super packet":     {func(ev *Event) { ev.Frame[16], ev.Frame[17] = 0, 0 }, nil, 0},
		"UDP segments":     {func(ev *Event) { ev.GSO = true }, nil, 0},
		"DF":               {of(df), nil, 0},
		"TTL 1":            {of(last), nil, 0},
		"IPv6":             {of(client6), nil, 0},
		"offset":           {func(ev *Event) { ev.L3++ }, nil, 0},
		"wrong checksum":   {func(ev *Event) { ev.Frame[24]++ }, nil, 0},
		"MTU without room": {func(ev *Event) { ev.MTU = 27 }, nil, 0},
		"unknown target":   {func(ev *Event) { ev.Target = 9 }, nil, 0},
		"no gateway":       {fromLeg, func(w *world) { w.gateway = false }, 0},
		"interface down":   {func(*Event) {}, func(w *world) { w.down[leg] = true }, 1},
	} {
		w := newWorld()
		if c.world != nil {
			c.world(w)
		}
		e := newEngine(t, w, nil)
		ev := good
		ev.Frame = slices.Clone(good.Frame)
		c.change(&ev)
		e.handle(ev, start)
		if got := e.Counters(); len(w.sent) > 0 || got != (Counters{CutFailed: 1, SendErrors: c.errors}) {
			t.Errorf("%s: sent %x, counted %+v", name, w.sent, got)
		}
	}
}

// TestCutTranslates checks that ports are translated before, in what an offloading
// sender left without its checksum, too.
func TestCutTranslates(t *testing.T) {
	partial := func(frame []byte, udp []byte) []byte {
		pseudo := slices.Concat(client4.Src.AsSlice(), client4.Dst.AsSlice(), []byte{0, packet.UDP, 0, byte(len(udp))})
		binary.BigEndian.PutUint16(frame[22+20+6:], ^packet.Checksum(0, pseudo))
		return frame
	}
	udp := client4.UDP(1, 2, make([]byte, 100))
	forth, back := client4.UDP(1, 3, make([]byte, 100)), client4.UDP(3, 2, make([]byte, 100))
	for name, c := range map[string]struct {
		frame []byte
		reply bool
		want  []byte
	}{
		"destination": {client4.Packet(tagged, packet.UDP, udp), false, forth},
		"source":      {client4.Packet(tagged, packet.UDP, udp), true, back},
		"offloaded":   {partial(client4.Packet(tagged, packet.UDP, udp), udp), false, forth},
	} {
		w := newWorld()
		e := newEngine(t, w, nil)
		e.handle(with(event(Fragment, append(c.frame, 0, 0)), func(ev *Event) {
			ev.MTU, ev.Target, ev.Port, ev.Reply = 68, target, 3, c.reply
		}), start)
		var got []byte
		for _, s := range w.takeSent() {
			got = append(got, s.Frame[34:]...)
		}
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %x, want %x", name, got, c.want)
		}
	}
}

// TestCutSegments cuts a TCP super packet as the one segment that it is.
func TestCutSegments(t *testing.T) {
	tcp := client4.TCP(1, 2, 0x10, make([]byte, 60000))
	w := newWorld()
	e := newEngine(t, w, nil)
	e.handle(with(event(Fragment, client4.Packet(fromClient, packet.TCP, tcp)), func(ev *Event) {
		ev.MTU, ev.Target, ev.GSO = 1400, target, true
	}), start)
	var got []byte
	for _, s := range w.sent {
		got = append(got, s.Frame[34:]...)
		if len(s.Frame) > 614 {
			t.Fatalf("%d bytes: the target's MTU is lower than the event's", len(s.Frame))
		}
	}
	if !bytes.Equal(got, tcp) {
		t.Error("the fragments are not the packet")
	}
}

// TestCutRandom puts together what random packets became.
func TestCutRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld()
	e := newEngine(t, w, nil)
	for range 1000 {
		ip := client4
		ip.TTL, ip.Options = uint8(2+r.IntN(254)), bytes.Repeat([]byte{1}, 4*r.IntN(11))
		data := make([]byte, 1+r.IntN(9000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		mtu := 68 + r.IntN(2000)
		e.handle(with(event(Fragment, ip.Packet(tagged, packet.SCTP+1, data)), func(ev *Event) { ev.MTU, ev.Target = mtu, 8 }), start)
		var got []byte
		for i, s := range w.takeSent() {
			p, err := packet.Parse(s.Frame)
			if err != nil || p.TTL != ip.TTL-1 || p.L3 != 14 || len(s.Frame) > 14+mtu || packet.Checksum(0, s.Frame[14:p.L4]) != 0 ||
				i > 0 && p.L4 != 34 {
				t.Fatalf("MTU %d: fragment %d is %x (%v)", mtu, i, s.Frame, err)
			}
			got = append(got, s.Frame[p.L4:]...)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("MTU %d: %d bytes became %d", mtu, len(data), len(got))
		}
	}
	if got := e.Counters(); got.Cut != 1000 || got.CutFailed != 0 {
		t.Errorf("counted %+v", got)
	}
}
