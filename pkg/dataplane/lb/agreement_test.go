// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// seed returns WEFT_TEST_SEED or a new one, and logs it.
func seed(t testing.TB) uint64 {
	s := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEFT_TEST_SEED"); v != "" {
		var err error
		if s, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("WEFT_TEST_SEED: %v", err)
		}
	}
	t.Logf("WEFT_TEST_SEED=%d", s)
	return s
}

// Rule sets per VLAN, and packets each meets. Together 200,000.
const (
	agreementSets    = 100
	agreementPackets = 1050
)

// TestAgreement compares program and model on random rules and packets.
func TestAgreement(t *testing.T) {
	s := seed(t)
	for i, vlan := range []uint16{0, 100} {
		t.Run("vlan="+strconv.Itoa(int(vlan)), func(t *testing.T) {
			r := bpftest.Random{Rand: rand.New(rand.NewPCG(s, uint64(i)))}
			testAgreement(t, r, vlan)
		})
	}
}

func testAgreement(t *testing.T, r bpftest.Random, vlan uint16) {
	const streams, targets = 5, 20
	l := newLB(t, Config{VLAN: vlan, MaxStreams: streams + 1, MaxTargets: targets, MaxTableSize: 101})
	w := model.World{
		Tables: make(map[uint32][]uint16), Targets: make(map[uint16]model.Target),
		MAC: extMAC, VLAN: vlan,
	}
	seen := make(map[string]int)
	for range agreementSets {
		n := []int{1, 5, 30, 100, 300}[r.IntN(5)]
		w.Set = r.Set(n, streams+1)
		if err := l.SetRules(Rules{VIPs: w.Set.VIPs, Flows: w.Set.Rules, Gateways: w.Set.Gateways}); err != nil {
			t.Fatal(err)
		}
		randomWorld(t, r, l, &w, streams, targets)
		before, err := l.Counters()
		if err != nil {
			t.Fatal(err)
		}
		count := agree(t, r, l, w)
		after, err := l.Counters()
		if err != nil {
			t.Fatal(err)
		}
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
		if seen[reason.String()] == 0 {
			t.Errorf("no packet for %s", reason)
		}
	}
}

// randomWorld changes tables and targets; the last stream never has a table.
func randomWorld(t *testing.T, r bpftest.Random, l *LB, w *model.World, streams, targets int) {
	for id := uint16(1); id < uint16(targets); id++ {
		if r.IntN(8) == 0 {
			delete(w.Targets, id)
			if err := l.DeleteTarget(id); err != nil {
				t.Fatal(err)
			}
			continue
		}
		target := model.Target{MAC: [6]byte{2, 0, 0, 1, byte(r.IntN(256)), byte(id)}, LegMAC: [6]byte{2, 0, 0, 2, 0, byte(id)}}
		w.Targets[id] = target
		if err := l.SetTarget(id, Target{IfIndex: int(id), MAC: net.HardwareAddr(target.MAC[:]), LegMAC: net.HardwareAddr(target.LegMAC[:])}); err != nil {
			t.Fatal(err)
		}
	}
	for stream := range uint32(streams) {
		if r.IntN(10) == 0 {
			delete(w.Tables, stream)
			if err := l.ClearTable(stream); err != nil {
				t.Fatal(err)
			}
			continue
		}
		table := make([]uint16, 1+r.IntN(101))
		for i := range table {
			table[i] = uint16(r.IntN(targets))
		}
		w.Tables[stream] = table
		if err := l.SetTable(stream, table); err != nil {
			t.Fatal(err)
		}
	}
}

// agree passes packets through both and returns how many met which verdict.
func agree(t *testing.T, r bpftest.Random, l *LB, w model.World) map[string]int {
	count := make(map[string]int)
	err := netns.Do(l.cfg.NetNS, func() error {
		for i := range agreementPackets {
			prog, decide, from, to := l.objs.Lb, w.Decide, r.Client, r.VIP
			if i%8 == 0 {
				prog, decide, from, to = l.objs.LbReply, w.Reply, r.VIP, r.Client
			}
			if r.IntN(20) == 0 {
				from, to = to, from
			}
			vlan := w.VLAN
			if i%8 == 0 {
				vlan = 0
			}
			frame := r.Frame(r.Link(w.MAC, vlan), from, to)
			want := decide(bytes.Clone(frame))
			v, out, err := l.run(prog, frame, 0)
			if errors.Is(err, unix.EINVAL) && cutOff(frame) {
				continue
			}
			if err != nil {
				t.Errorf("%v: % x", err, frame)
				return nil
			}
			got := model.Decision{Verdict: v.Reason.String(), Stream: v.Stream, Target: v.Target, Frame: out}
			if v.Reason.Drop() {
				got.Frame = nil
			}
			if !same(want, got) {
				t.Errorf("packet %d, rules %+v\n% x\n-model +program\n%s", i, w.Set, frame, cmp.Diff(want, got))
				return nil
			}
			count[want.Verdict]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return count
}

func same(a, b model.Decision) bool {
	return a.Verdict == b.Verdict && a.Stream == b.Stream && a.Target == b.Target && bytes.Equal(a.Frame, b.Frame)
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
