// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// handover is struct handover of bpf/lib/handover.h.
type handover struct {
	Secret, Target, Stream, Flow, Slot uint32
	Port, Reason                       uint16
}

// xdpContext is struct xdp_md.
type xdpContext struct {
	Data, DataEnd, DataMeta             uint32
	IngressIfindex, RXQueue, EgressInde uint32
}

// What an XDP program returns.
const (
	xdpDrop = 1
	xdpPass = 2
	xdpTX   = 3
)

// withXDP gives a load balancer its XDP program, which is not attached.
func withXDP(t testing.TB, l *LB) {
	t.Helper()
	l.id.secret = 0x5ec4e7
	var err error
	l.objs.xdp, err = loadXDPProgram(l.cfg, l.id, l.objs)
	check(t, err)
}

// runXDP passes a frame through the XDP program; what is handed over with it, if
// anything, is split from it.
func runXDP(p *ebpf.Program, frame []byte) (verdict uint32, m *handover, out []byte, err error) {
	var after xdpContext
	opts := ebpf.RunOptions{
		Data: frame, DataOut: make([]byte, len(frame)+2*frameSpace),
		Context: xdpContext{DataEnd: uint32(len(frame))}, ContextOut: &after,
	}
	if verdict, err = p.Run(&opts); err != nil {
		return 0, nil, nil, err
	}
	out = opts.DataOut
	if n := after.Data; n > 0 {
		m = new(handover)
		if _, err := binary.Decode(out[:n], binary.NativeEndian, m); err != nil {
			return 0, nil, nil, fmt.Errorf("%d bytes of metadata: %w", n, err)
		}
		out = out[n:]
	}
	return verdict, m, out, nil
}

// TestXDPAgreement compares the XDP program and the model on random packets, a
// tenth as many as TestAgreement: of what it decides itself the frame, of the rest
// the decision.
func TestXDPAgreement(t *testing.T) {
	s := seed(t)
	pairs := number(t, "WEFT_TEST_AGREEMENT", 200_000) / 10
	for i, vlan := range []uint16{0, 100} {
		t.Run("vlan="+strconv.Itoa(int(vlan)), func(t *testing.T) {
			testXDPAgreement(t, bpftest.NewRandom(s, uint64(i)), vlan, int(pairs)/2)
		})
	}
}

func testXDPAgreement(t *testing.T, r *bpftest.Random, vlan uint16, pairs int) {
	const streams, targets = 6, 20
	l := newLB(t, Config{VLAN: vlan, MaxStreams: streams, MaxTargets: targets, MaxTableSize: 101, Mode: ModeTCX})
	withXDP(t, l)
	seen := make(map[string]int)
	enough := pairs >= 10_000 // to meet every reason
	for ; pairs > 0; pairs -= agreementPackets {
		w := r.World([]int{1, 5, 30, 100, 300}[r.IntN(5)], streams, targets, extMAC)
		w.VLAN = vlan
		w.Set.MTU = max(w.Set.MTU, 1280) // an interface has one
		check(t, testutil.Handle(t, l.cfg.NetNS).SetMTU(l.id.ifindex, int(w.Set.MTU)))
		build(t, l, w, streams, targets)
		before, err := l.Counters()
		check(t, err)
		count := agreeXDP(t, r, l, w, min(pairs, agreementPackets))
		after, err := l.Counters()
		check(t, err)
		for reason := range after {
			got, want := int(after[reason]-before[reason]), count[reason.String()]
			if leftToTCX(reason.String()) {
				want = 0
			}
			if got != want {
				t.Fatalf("counter %s rose by %d, want %d", reason, got, want)
			}
		}
		for v, n := range count {
			seen[v] += n
		}
	}
	t.Log(seen)
	for reason := Forwarded; reason < DropInternal; reason++ {
		switch reason {
		case ReplyForwarded, PassReply, DropNoGateway, DropNoRoute, DropFragment, DropNAT: // not for XDP to decide
		default:
			if enough && seen[reason.String()] == 0 {
				t.Errorf("no packet for %s", reason)
			}
		}
	}
}

// leftToTCX says that the XDP program passes a packet, and leaves it to lb to
// count it.
func leftToTCX(verdict string) bool {
	switch verdict {
	case model.Forwarded, model.FragmentForwarded, model.ICMPForwarded, model.NAT, model.PassNotIP, model.PassVLAN,
		model.PassNotHost, model.PassARP, model.PassNotVIP:
		return true
	}
	return false
}

// agreeXDP passes packets through both and returns how many met which verdict.
func agreeXDP(t *testing.T, r *bpftest.Random, l *LB, w model.World, packets int) map[string]int {
	count := make(map[string]int)
	check(t, netns.Do(l.cfg.NetNS, func() error {
		for n := 0; n < packets; {
			for _, frame := range r.Frames(r.Link(w.MAC, w.VLAN), false) {
				if len(frame) > math.MaxUint16 {
					return fmt.Errorf("frame of %d bytes", len(frame))
				}
				n++
				want := w.Decide(bytes.Clone(frame))
				verdict, m, out, err := runXDP(l.objs.xdp, frame)
				if err != nil {
					return fmt.Errorf("%w: % x", err, frame)
				}
				if diff := diffXDP(l, frame, want, verdict, m, out); diff != "" {
					return fmt.Errorf("packet %d, %s, world %+v\n% x\n-model +program\n%s", n, want.Verdict, w, frame, diff)
				}
				count[want.Verdict]++
			}
		}
		return nil
	}))
	return count
}

// diffXDP is how the program differs from the model, "" if it does not.
func diffXDP(l *LB, frame []byte, want model.Decision, verdict uint32, m *handover, out []byte) string {
	type outcome struct {
		Verdict  uint32
		Handover *handover
		Frame    []byte
	}
	expected := outcome{Verdict: xdpDrop}
	switch want.Verdict {
	case model.ARPAnswered, model.NDAnswered, model.EchoAnswered:
		expected = outcome{Verdict: xdpTX, Frame: want.Frame}
	case model.Forwarded, model.FragmentForwarded, model.NAT:
		expected = outcome{Verdict: xdpPass, Frame: frame, Handover: &handover{
			Secret: l.id.secret, Target: uint32(want.Target), Stream: want.Stream, Flow: want.Flow, Slot: want.Slot,
			Port: portOf(frame, want), Reason: uint16(Forwarded),
		}}
		if want.Verdict == model.FragmentForwarded {
			expected.Handover.Reason = uint16(FragmentForwarded)
		}
		if want.Verdict == model.NAT && m != nil { // which port is nobody's business
			expected.Handover.Port = m.Port
		}
	default:
		if leftToTCX(want.Verdict) {
			expected = outcome{Verdict: xdpPass, Frame: frame}
		}
	}
	got := outcome{verdict, m, out}
	if verdict == xdpDrop {
		got.Frame = nil
	}
	return cmp.Diff(expected, got)
}

// portOf is what the destination port of the frame is to become, in network order;
// 0: as it is.
func portOf(frame []byte, d model.Decision) uint16 {
	in, _ := packet.Parse(frame)
	out, _ := packet.Parse(d.Frame)
	if d.Verdict != model.Forwarded || in.DstPort == out.DstPort {
		return 0
	}
	return bits.ReverseBytes16(out.DstPort)
}
