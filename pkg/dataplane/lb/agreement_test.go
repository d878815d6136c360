// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// seed returns WEFT_TEST_SEED or a new one, and logs it.
func seed(t testing.TB) uint64 {
	s := number(t, "WEFT_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("WEFT_TEST_SEED=%d", s)
	return s
}

// number returns what an environment variable says, or a default.
func number(t testing.TB, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// agreementPackets is how many packets each rule set meets.
const agreementPackets = 1000

// TestAgreement compares program and model on WEFT_TEST_AGREEMENT random packets,
// each with one of many random rule sets.
func TestAgreement(t *testing.T) {
	s := seed(t)
	pairs := number(t, "WEFT_TEST_AGREEMENT", 200_000)
	vlans := []uint16{0, 100}
	for i, vlan := range vlans {
		t.Run("vlan="+strconv.Itoa(int(vlan)), func(t *testing.T) {
			testAgreement(t, bpftest.NewRandom(s, uint64(i)), vlan, int(pairs)/len(vlans))
		})
	}
}

func testAgreement(t *testing.T, r *bpftest.Random, vlan uint16, pairs int) {
	const streams, targets = 6, 20
	l := newLB(t, Config{VLAN: vlan, MaxStreams: streams, MaxTargets: targets, MaxTableSize: 101})
	h := testutil.Handle(t, l.cfg.NetNS)
	seen := make(map[string]int)
	for ; pairs > 0; pairs -= agreementPackets {
		w := r.World([]int{1, 5, 30, 100, 300}[r.IntN(5)], streams, targets, extMAC)
		w.VLAN = vlan
		if w.Set.MTU == 0 {
			w.Set.MTU = math.MaxUint16 // an interface has one
		}
		check(t, h.SetMTU(l.id.ifindex, int(w.Set.MTU)))
		build(t, l, w, streams, targets)
		before, err := l.Counters()
		check(t, err)
		count := agree(t, r, l, w, min(pairs, agreementPackets))
		after, err := l.Counters()
		check(t, err)
		for reason := range after {
			if got := int(after[reason] - before[reason]); got != count[reason.String()] {
				t.Fatalf("counter %s rose by %d, want %d", reason, got, count[reason.String()])
			}
		}
		for v, n := range count {
			seen[v] += n
		}
	}
	t.Log(seen)
	for reason := Forwarded; reason < DropInternal; reason++ {
		// Fragments are not dropped while there is a slow path.
		if seen[reason.String()] == 0 && reason != DropFragment && reason != DropNoRoute {
			t.Errorf("no packet for %s", reason)
		}
	}
}

// build makes the load balancer what the world says.
func build(t *testing.T, l *LB, w model.World, streams, targets int) {
	check(t, l.SetRules(Rules{
		VIPs: w.Set.VIPs, Flows: w.Set.Rules, NATs: w.Set.NATs, MSSClamp: w.Set.MSSClamp,
	}))
	check(t, l.SetGateways(Gateways{Default4: w.Gateways4, Default6: w.Gateways6}))
	for id := uint16(1); id < uint16(targets); id++ {
		target, ok := w.Targets[id]
		if !ok {
			check(t, l.DeleteTarget(id))
			continue
		}
		check(t, l.SetTarget(id, Target{
			IfIndex: int(id), MAC: net.HardwareAddr(target.MAC[:]), LegMAC: net.HardwareAddr(target.LegMAC[:]), MTU: int(target.MTU),
		}))
	}
	for stream := range uint32(streams) {
		if table := w.Tables[stream]; table != nil {
			check(t, l.SetTable(stream, table))
		} else {
			check(t, l.ClearTable(stream))
		}
	}
}

// agree passes packets through both and returns how many met which verdict.
func agree(t *testing.T, r *bpftest.Random, l *LB, w model.World, packets int) map[string]int {
	count := make(map[string]int)
	check(t, netns.Do(l.cfg.NetNS, func() error {
		for n := 0; n < packets; {
			prog, decide, vlan, reply := l.objs.Lb, w.Decide, w.VLAN, r.IntN(8) == 0
			if reply {
				prog, decide, vlan = l.objs.LbReply, w.Reply, 0
			}
			for _, frame := range r.Frames(r.Link(w.MAC, vlan), reply) {
				n++
				want := decide(bytes.Clone(frame))
				v, out, err := l.run(prog, frame, 0)
				if errors.Is(err, unix.EINVAL) && cutOff(frame) {
					continue
				}
				if err != nil {
					return fmt.Errorf("%w: % x", err, frame)
				}
				got := model.Decision{
					Verdict: v.Reason.String(), Stream: v.Stream, Flow: v.Flow, Slot: v.Slot, Target: v.Target,
					Gateway: v.Gateway, Frame: out,
				}
				if want.Frame == nil { // what is dropped, or handed over, looks as it likes
					got.Frame = nil
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
					return fmt.Errorf("packet %d, reply %v, world %+v\n% x\n-model +program\n%s", n, reply, w, frame, diff)
				}
				count[want.Verdict]++
			}
		}
		return nil
	}))
	return count
}

// cutOff says that the kernel does not run programs on such a frame: it ends
// within its IP header. (With a VLAN tag before it, the kernel does not see.)
func cutOff(frame []byte) bool {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case packet.EtherIPv4:
		return len(frame) < 14+20
	case packet.EtherIPv6:
		return len(frame) < 14+40
	}
	return false
}
