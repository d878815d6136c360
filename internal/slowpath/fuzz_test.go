// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/packet"
)

// FuzzHandle feeds any frame as any event. What leaves must be well formed: a
// packet whose lengths are right, to and from a single station, and with right
// checksums unless its cause had a wrong one.
func FuzzHandle(f *testing.F) {
	options := client4
	options.Options = []byte{7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0}
	for _, frame := range [][]byte{
		client4.Packet(tagged, packet.UDP, client4.UDP(1, 2, make([]byte, 900))),
		client6.Packet(fromClient, packet.TCP, client6.TCP(1, 2, 2, make([]byte, 900))),
		options.Packet(fromClient, packet.SCTP, options.SCTP(1, 2, make([]byte, 900))),
		later(fromClient, client4, 1, 1), later(tagged, client6, 1, 1),
	} {
		p, err := packet.Parse(frame)
		if err != nil {
			f.Fatal(err)
		}
		for kind := TimeExceeded; kind <= Release; kind++ {
			f.Add(byte(kind), byte(0), frame, p.L3, uint16(600), uint16(target))
			f.Add(byte(kind), byte(0xff), frame, p.L3, uint16(100), uint16(8))
		}
	}
	f.Fuzz(func(t *testing.T, kind, flags byte, frame []byte, l3 int, mtu, id uint16) {
		w := newWorld()
		e := newEngine(t, w, nil)
		ev := Event{
			Kind: Kind(kind), Reply: flags&1 != 0, GSO: flags&2 != 0, Frame: bytes.Clone(frame), Length: len(frame) + int(flags>>7),
			L3: l3, MTU: int(mtu), Target: id, Key: key(client4, 1), Leg: leg,
		}
		e.handle(ev, start)
		held := len(w.sent) == 0 && w.waiting
		w.verdicts[ev.Key] = FragmentVerdict{Target: id, Echo: flags&4 != 0, Drop: flags&8 != 0}
		e.handle(release(client4, 1), start)
		e.expire(start.Add(time.Hour))
		if got := e.Counters(); got.Held != 0 || w.waiting || held && got.Released != 1 {
			t.Fatalf("counted %+v, waiting %v", got, w.waiting)
		}
		for _, s := range w.sent {
			checkSent(t, frame, s)
		}
	})
}

func checkSent(t *testing.T, cause []byte, s sent) {
	t.Helper()
	l3 := networkOffset(s.Frame)
	if l3 == 0 || group(s.Frame[6:]) || s.Interface != external && s.Interface != leg {
		t.Fatalf("sent %x out of %d", s.Frame, s.Interface)
	}
	p, err := packet.Network(s.Frame[l3:])
	if err != nil || len(p) != len(s.Frame)-l3 || packet.TTL(p) == 0 {
		t.Fatalf("sent %x: %v", s.Frame, err)
	}
	if p[0]>>4 != 4 {
		return
	}
	// What has no packet in it cannot have caused anything.
	in := cause[networkOffset(cause):]
	if packet.Checksum(0, in[:int(in[0]&15)*4]) == 0 && packet.Checksum(0, p[:int(p[0]&15)*4]) != 0 {
		t.Fatalf("sent %x with a wrong checksum", s.Frame)
	}
}

// networkOffset is where the network header of a frame begins, 0 if nowhere.
func networkOffset(frame []byte) int {
	for at := 12; at+2 < len(frame); at += 4 {
		switch binary.BigEndian.Uint16(frame[at:]) {
		case packet.EtherIPv4, packet.EtherIPv6:
			return at + 2
		case packet.EtherVLAN, packet.EtherQinQ:
		default:
			return 0
		}
	}
	return 0
}
