// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// right computes all checksums of a packet anew. known is false for what has
// none, or not all of what it covers.
func right(frame []byte) (is, known bool) {
	p, err := packet.Parse(frame)
	if err != nil || !p.Src.IsValid() {
		return false, false
	}
	if ip := frame[p.L3:]; p.Src.Is4() && bad(packet.Checksum(0, ip[:int(ip[0]&15)*4])) {
		return false, true
	}
	if p.Fragment.First() || p.Fragment.Later() {
		return true, true
	}
	l4 := bytes.Clone(frame[p.L4 : p.L4+p.L4Len])
	pseudo := append(p.Src.AsSlice(), p.Dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(l4)))
	pseudo = append(pseudo, 0, 0, 0, p.Proto)
	switch {
	case p.Proto == packet.UDP && l4[6] == 0 && l4[7] == 0:
		return true, true
	case p.Proto == packet.TCP, p.Proto == packet.UDP, p.Proto == packet.ICMPv6 && p.IsICMP():
		return !bad(packet.Checksum(0, append(pseudo, l4...))), true
	case p.IsICMP():
		return !bad(packet.Checksum(0, l4)), true
	case p.Proto == packet.SCTP:
		sum := binary.LittleEndian.Uint32(l4[8:])
		clear(l4[8:12])
		return sum == crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)), true
	}
	return false, false
}

// bad says that a sum does not add up to 0, of which ffff is another form: the
// sum of data that is nothing but 0 may be either.
func bad(sum uint16) bool { return sum != 0 && sum != 0xffff }

// TestSums checks that checksums that were right are right in what leaves, and
// that those that were wrong are not.
func TestSums(t *testing.T) {
	r := bpftest.NewRandom(3, 3)
	mac := packet.MAC{2, 0, 0, 0, 0, 1}
	count := make(map[string]int)
	for range 30 {
		w := r.World(30, 6, 20, mac)
		for i := range 1000 {
			decide, reply := w.Decide, i%4 == 0
			if reply {
				decide = w.Reply
			}
			for _, frame := range r.Frames(r.Link(mac, 0), reply) {
				d := decide(frame)
				before, known := right(frame)
				if d.Frame == nil || !known {
					continue
				}
				if after, _ := right(d.Frame); after != before {
					t.Fatalf("%s: right %v, then %v\n% x\n% x", d.Verdict, before, after, frame, d.Frame)
				}
				if count[d.Verdict]++; !before {
					count["wrong"]++
				}
			}
		}
	}
	t.Log(count)
	for _, v := range []string{
		model.Forwarded, model.FragmentForwarded, model.ICMPForwarded, model.ReplyForwarded, model.EchoAnswered, "wrong",
	} {
		if count[v] < 20 {
			t.Errorf("%d packets %s", count[v], v)
		}
	}
}
