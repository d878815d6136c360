// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/packet"
)

// FuzzDecide checks that nothing panics, that frames are not changed in place,
// and that what goes on is a packet of the same length at its level.
func FuzzDecide(f *testing.F) {
	for name, fam := range families {
		for _, proto := range protocols {
			f.Add(frame(toUs, fam.in, proto, 4000, 90))
			f.Add(frame(toUs, fam.reply, proto, 9090, 4000))
			f.Add(quoting(toUs, from(fam.in), kinds[name].unreachable, fam.reply, proto, 90, 4000, 30))
			for _, b := range fragments(frame(toUs, fam.in, proto, 4000, 80)) {
				f.Add(b)
			}
		}
		f.Add(icmp(toUs, fam.in, kinds[name].request, 0, []byte("data")))
		f.Add(fam.in.Packet(toUs, packet.TCP, fam.in.TCPOptions(1, 80, packet.SYN, packet.MSS(1460), nil)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		w := world()
		w.Set.MSSClamp, w.Set.MTU, w.LegMTU, w.Targets[1] = true, 1400, 1300, Target{MTU: 1200}
		for _, decide := range []func([]byte) Decision{w.Decide, w.Decide, w.Reply} { // twice: fragments are remembered
			d := decide(frame)
			if !bytes.Equal(before, frame) {
				t.Fatal("the frame was changed in place")
			}
			p, _ := packet.Parse(frame)
			out, err := packet.Parse(d.Frame)
			switch {
			case strings.HasSuffix(d.Verdict, "forwarded"), d.Verdict == EchoAnswered:
				if out.Length != p.Length || len(d.Frame)-out.L3 != len(frame)-p.L3 || out.Proto != p.Proto || out.Fragment != p.Fragment {
					t.Fatalf("%s: %+v became %+v, %v", d.Verdict, p, out, err)
				}
			case strings.HasPrefix(d.Verdict, "pass_"):
				if !bytes.Equal(d.Frame, frame) {
					t.Fatalf("%s: the frame has changed", d.Verdict)
				}
			case d.Verdict != ARPAnswered && d.Verdict != NDAnswered && d.Frame != nil:
				t.Fatalf("%s: with a frame", d.Verdict)
			}
		}
	})
}
