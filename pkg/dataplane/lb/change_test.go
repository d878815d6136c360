// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/classify/model"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/packet"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/testutil/bpftest"
)

// manyRules pads a rule set to n rules with ones for other VIPs or sources.
func manyRules(n int, vip netip.Prefix) []classify.Rule {
	rules := make([]classify.Rule, n)
	for i := range rules {
		source := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
		rules[i] = classify.Rule{
			Name: fmt.Sprintf("other-%d", i), Priority: 10, VIPs: []netip.Prefix{vip},
			Sources: []netip.Prefix{netip.PrefixFrom(source, 32)}, Stream: 1,
		}
	}
	return rules
}

// TestChangeUnderTraffic changes everything that can change while packets pass;
// none may be lost.
func TestChangeUnderTraffic(t *testing.T) {
	top := newTopology(t, 2, 0)
	top.balance(t)
	for i, ns := range top.targets {
		nameServer(t, ns, fmt.Sprintf("target-%d", i))
	}
	rule := classify.Rule{Name: "all"}
	for _, a := range vips {
		rule.VIPs = append(rule.VIPs, netip.PrefixFrom(a, a.BitLen()))
	}
	rules := func(more int) Rules {
		return Rules{
			VIPs:  rule.VIPs,
			Flows: append(manyRules(more, rule.VIPs[0]), rule),
		}
	}
	var done atomic.Bool
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for n := 0; !done.Load() || n < 100; n++ {
			vip, from := routed4, client4
			if n%2 == 0 {
				vip, from = routed6, client6
			}
			if _, err := ask(top.client, "udp", vip, from); err != nil {
				failed <- fmt.Errorf("exchange %d: %w", n, err)
				return
			}
		}
	}()
	var changes sync.WaitGroup
	changes.Go(func() {
		for _, n := range []int{1, 300, 10, 3000, 0} {
			if err := top.lb.SetRules(rules(n)); err != nil {
				t.Error(err)
			}
		}
		done.Store(true)
	})
	for i := 0; i < 200 || !done.Load(); i++ {
		if err := top.lb.SetTable(0, top.table(i)); err != nil {
			t.Error(err)
		}
		leg, mac := legMAC(i%2), targetMAC(i%2)
		if err := top.lb.SetTarget(uint16(i%2+1), Target{IfIndex: top.legs[i%2].Index, MAC: mac[:], LegMAC: leg[:]}); err != nil {
			t.Error(err)
		}
	}
	changes.Wait()
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if top.lb.objs.blob == blobSizes[0] {
		t.Error("the rules did not outgrow the first size")
	}
	counts, err := top.lb.Counters()
	check(t, err)
	for r, n := range counts {
		if r.Drop() && n != 0 {
			t.Errorf("%d packets dropped: %s", n, r)
		}
	}
}

// TestLoad passes every shape of the programs, and the extremes of what else is
// constant to them, by the verifier.
func TestLoad(t *testing.T) {
	testutil.Require(t, "bpf")
	least, most := Config{MaxTableSize: 1, MaxTargets: 2}, Config{MaxTableSize: MaxTableSize, MaxTargets: 1 << 16}
	for _, size := range blobSizes {
		for _, affinity := range []uint32{0, 64} {
			for _, xdp := range []bool{false, true} {
				testLoad(t, Config{}, shape{blob: size, affinity: affinity}, xdp)
			}
		}
	}
	testLoad(t, least, shape{blob: blobSizes[0], affinity: 64}, true)
	testLoad(t, most, shape{blob: blobSizes[0], affinity: 64}, true)
}

func testLoad(t *testing.T, cfg Config, want shape, xdp bool) {
	objs, err := load(cfg.withDefaults(), newIdentity(1, xdp), want, nil)
	if err != nil {
		t.Fatalf("%+v, %+v, xdp %t: %+v", cfg, want, xdp, err)
	}
	if err := objs.Close(); err != nil {
		t.Error(err)
	}
}

// TestGrow makes rule sets outgrow their blob again and again; tables, targets,
// counters and legs live on, and big sets agree with the model.
func TestGrow(t *testing.T) {
	testutil.CheckLeaks(t)
	r := bpftest.Random{Rand: rand.New(rand.NewPCG(seed(t), 0))}
	l := newLB(t, Config{MaxTableSize: 11})
	vip := netip.MustParsePrefix("20.0.0.1/32")
	w := model.World{
		MAC:     extMAC,
		Tables:  map[uint32][]uint16{0: {5}, 1: {6}},
		Targets: map[uint16]model.Target{5: {MAC: targetMAC(5), LegMAC: legMAC(5)}, 6: {MAC: targetMAC(6), LegMAC: legMAC(6)}},
	}
	for id, target := range w.Targets {
		check(t, l.SetTarget(id, Target{IfIndex: 1, MAC: target.MAC[:], LegMAC: target.LegMAC[:]}))
		check(t, l.SetTable(uint32(id-5), w.Tables[uint32(id-5)]))
	}
	ext, err := l.device()
	check(t, err)
	_, err = l.AttachLeg(ext.Index)
	check(t, err)
	sizes := make(map[uint32]bool)
	passed := 0
	for _, n := range []int{0, 100, 1000, 5000, 10} {
		w.Set = classify.Set{
			VIPs:  []netip.Prefix{vip},
			Rules: append(manyRules(n, vip), classify.Rule{Name: "rest", VIPs: []netip.Prefix{vip}}),
		}
		check(t, l.SetRules(Rules{VIPs: w.Set.VIPs, Flows: w.Set.Rules}))
		sizes[l.objs.blob] = true
		check(t, netns.Do(l.cfg.NetNS, func() error {
			for range 50 {
				ip := packet.IP{Src: netip.AddrFrom4([4]byte{172, 16, byte(r.IntN(20)), byte(r.IntN(256))}), Dst: vip.Addr()}
				frame := ip.Packet(packet.Ethernet{Dst: extMAC}, packet.UDP, ip.UDP(1, 2, nil))
				v, _, err := l.run(l.objs.Lb, frame, 0)
				if err != nil {
					return err
				}
				want := w.Decide(frame)
				if v.Reason.String() != want.Verdict || v.Stream != want.Stream || v.Target != want.Target {
					return fmt.Errorf("%d rules: %s: got %v, want %v", n, ip.Src, v, want)
				}
				passed++
			}
			return nil
		}))
	}
	if len(sizes) < 3 {
		t.Errorf("blob sizes %v, want at least three", sizes)
	}
	counts, err := l.Counters()
	check(t, err)
	if counts[Forwarded] != uint64(passed) {
		t.Errorf("%d packets counted, %d passed", counts[Forwarded], passed)
	}
}
