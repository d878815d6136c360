// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"
	"testing"

	"github.com/weft-project/weft/internal/packet"
)

// syn is a segment with options to a port.
func syn(eth packet.Ethernet, ip packet.IP, port uint16, flags uint8, options []byte) []byte {
	return ip.Packet(eth, packet.TCP, ip.TCPOptions(4000, port, flags, options, []byte("odd")))
}

// clamping is the world with an MTU of the target's leg and of the external
// interface.
func clamping(leg, ext uint16) World {
	w := world()
	w.Set.MSSClamp, w.Set.MTU = true, ext
	w.Targets[1] = Target{MAC: toTarget.Dst, LegMAC: toTarget.Src, MTU: leg}
	return w
}

// fit is the MSS option for an MTU of 1300.
var fit = map[string][]byte{"IPv4": packet.MSS(1260), "IPv6": packet.MSS(1240)}

// TestClampOptions is step 12 with all that options can be.
func TestClampOptions(t *testing.T) {
	for name, f := range families {
		clamped := func(what string, flags uint8, before, after []byte) step {
			return step{name + " " + what, syn(toUs, f.in, 80, flags, before), web(Forwarded, syn(toTarget, f.out, 80, flags, after))}
		}
		same := func(what string, flags uint8, options []byte) step { return clamped(what, flags, options, options) }
		big, small := packet.MSS(1460), fit[name]
		odd, other := []byte{4, 2, 1, 1, 1}, []byte{2, 6, 9, 9, 9, 9}
		run(t, clamping(1300, 1400).Decide,
			clamped("SYN", packet.SYN, big, small),
			clamped("SYN ACK", packet.SYN|packet.ACK, big, small),
			clamped("at an odd offset", packet.SYN, slices.Concat(odd, big), slices.Concat(odd, small)),
			clamped("first of two", packet.SYN, slices.Concat(big, big), slices.Concat(small, big)),
			clamped("of other length", packet.SYN, slices.Concat(other, big), slices.Concat(other, small)),
			same("no SYN", packet.ACK, big),
			same("fits", packet.SYN, small),
			same("smaller", packet.SYN, packet.MSS(9)),
			same("after the end", packet.SYN, slices.Concat([]byte{0, 0, 0, 0}, big)),
			same("length 0", packet.SYN, slices.Concat([]byte{3, 0}, big)),
			same("length 1", packet.SYN, slices.Concat([]byte{3, 1}, big)),
			same("cut", packet.SYN, []byte{1, 1, 1, 1, 1, 1, 2, 4}),
			same("beyond the header", packet.SYN, []byte{3, 9, 0, 1}),
		)
		// A data offset within the fixed header, and one beyond the packet.
		at := map[string]int{"IPv4": 34, "IPv6": 54}[name]
		for offset, want := range map[byte][]byte{4: big, 0: big, 15: small} {
			b := patch(syn(toUs, f.in, 80, packet.SYN, big), at+12, offset<<4)
			if got := clamping(1300, 1400).Decide(b); string(got.Frame[at+20:at+24]) != string(want) {
				t.Errorf("%s: data offset %d: % x", name, offset, got.Frame[at:])
			}
		}
	}
}

// TestClampMTUs is step 12 with all that MTUs can be.
func TestClampMTUs(t *testing.T) {
	for name, f := range families {
		big, small := packet.MSS(1460), fit[name]
		for _, c := range []struct {
			leg, ext uint16
			want     []byte
		}{{1300, 1400, small}, {1400, 1300, small}, {0, 1300, small}, {1300, 0, small}, {0, 0, big}} {
			run(t, clamping(c.leg, c.ext).Decide, step{
				name, syn(toUs, f.in, 80, packet.SYN, big), web(Forwarded, syn(toTarget, f.out, 80, packet.SYN, c.want)),
			})
		}
		w := clamping(1300, 1300)
		run(t, w.Decide, step{
			name + " NAT", syn(toUs, f.in, 90, packet.SYN, big), web(Forwarded, syn(toTarget, f.out, 9090, packet.SYN, small)),
		})
		w.Set.MSSClamp = false
		run(t, w.Decide, step{
			name + " off", syn(toUs, f.in, 80, packet.SYN, big), web(Forwarded, syn(toTarget, f.out, 80, packet.SYN, big)),
		})
		// What is left of a SYN that is cut into fragments.
		f.in.ID, f.out.ID = 77, 77
		in := packet.Fragments(syn(toUs, f.in, 80, packet.SYN, big), 24, 77)
		out := packet.Fragments(syn(toTarget, f.out, 80, packet.SYN, small), 24, 77)
		run(t, clamping(1300, 1300).Decide, step{name + " first fragment", in[0], web(Forwarded, out[0])})
	}
}
