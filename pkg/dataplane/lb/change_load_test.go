// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/internal/packet"
)

// The load is to be 60,000 packets per second. The machines that run the tests are
// shared, though: with less than loadFloor a run proves too little.
const (
	loadRate    = 60_000
	loadFloor   = 20_000
	loadChanges = 100                   // of each kind
	loadPause   = 20 * time.Millisecond // between two
)

// loadWorld is a load balancer under load, and the tables that were in force.
type loadWorld struct {
	*stacks
	r         *rand.Rand
	sender    *loadSender
	receivers []*loadReceiver
	names     []string
	tables    [][]uint16 // since the present phase began
	weights   []uint16
}

// TestChangesUnderLoad changes targets, weights, flows and VIPs a hundred times
// each while tens of thousands of packets per second pass: none is lost, and each
// arrives at a target that a table in force gives its flow.
func TestChangesUnderLoad(t *testing.T) {
	s := newStacks(t, 4)
	w := &loadWorld{stacks: s, r: rand.New(rand.NewPCG(seed(t), 0)), weights: []uint16{1, 1, 1, 1}}
	for i := range s.targets {
		w.names = append(w.names, fmt.Sprintf("target-%d", i))
	}
	w.sender, w.receivers = newLoad(t, s, 4000, 400)
	w.setRules(t, func(r *Rules) { w.vips(r, false) })
	w.balanceBy(t)
	for _, phase := range []struct {
		name   string
		moves  bool // flows to other targets
		change func(t *testing.T, i int)
	}{
		{"targets", true, w.changeTargets},
		{"weights", true, w.changeWeights},
		{"flows", false, w.changeFlows},
		{"VIPs", false, w.changeVIPs},
	} {
		t.Run(phase.name, func(t *testing.T) { w.phase(t, phase.change, phase.moves) })
	}
	s.lossless(t)
}

// phase makes the changes of one kind under load.
func (w *loadWorld) phase(t *testing.T, change func(t *testing.T, i int), moves bool) {
	w.tables = w.tables[len(w.tables)-1:]
	for _, f := range w.sender.flows {
		f.sent, f.sum = 0, 0
	}
	for _, r := range w.receivers {
		r.reset()
	}
	stop, done := make(chan struct{}), make(chan struct{})
	var sent int
	var took time.Duration
	go func() {
		defer close(done)
		var err error
		if sent, took, err = w.sender.run(loadRate, stop); err != nil {
			t.Errorf("send: %v", err)
		}
	}()
	func() {
		defer func() { close(stop); <-done }()
		tick := time.NewTicker(loadPause)
		defer tick.Stop()
		for i := range loadChanges {
			change(t, i)
			<-tick.C
		}
	}()
	lost := w.settle(sent)
	rate := int(float64(sent) / took.Seconds())
	t.Logf("%d changes: %d of %d packets lost, at %d packets per second (of %d)", loadChanges, lost, sent, rate, loadRate)
	if rate < loadFloor {
		t.Errorf("this machine held %d packets per second, less than %d", rate, loadFloor)
	}
	w.checkFlows(t, moves)
}

// settle waits for what is under way and returns how many packets never came.
func (w *loadWorld) settle(sent int) (lost int) {
	deadline := time.Now().Add(2 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		lost = sent
		for _, r := range w.receivers {
			lost -= r.received()
		}
		if lost <= 0 || time.Now().After(deadline) {
			return lost
		}
		<-tick.C
	}
}

// checkFlows compares what each flow has sent with what came where.
func (w *loadWorld) checkFlows(t *testing.T, moves bool) {
	t.Helper()
	moved, bad := 0, 0
	for i, f := range w.sender.flows {
		slot := packet.HashPick(packet.FlowHash(f.src, f.dst, packet.UDP, f.port, loadPort), uint32(len(w.tables[0])))
		var count uint32
		var sum uint64
		var at []uint16
		for j, r := range w.receivers {
			r.mu.Lock()
			count, sum = count+r.count[i], sum+r.sum[i]
			id := uint16(j + 1)
			if r.count[i] > 0 {
				at = append(at, id)
				if !slices.ContainsFunc(w.tables, func(table []uint16) bool { return table[slot] == id }) {
					t.Errorf("flow %d: %d packets at target %d, which no table gave it", i, r.count[i], id)
				}
			}
			r.mu.Unlock()
		}
		if len(at) > 1 {
			moved++
		}
		if count != f.sent || sum != f.sum {
			if bad++; bad <= 10 {
				t.Errorf("flow %d from %s to %s: %d of %d packets, at targets %d", i, f.src, f.dst, count, f.sent, at)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d flows lost packets, or got others", bad, len(w.sender.flows))
	}
	for j, r := range w.receivers {
		if r.wrong > 0 {
			t.Errorf("target %d received %d packets that nobody sent", j, r.wrong)
		}
	}
	t.Logf("%d of %d flows moved", moved, w.sender.active.Load())
	if (moved > 0) != moves {
		t.Errorf("%d flows moved", moved)
	}
}

// balanceBy puts the table in force that the weights make.
func (w *loadWorld) balanceBy(t *testing.T) {
	t.Helper()
	table, err := maglev.BuildWeighted(maglev.DefaultSize, w.names, w.weights)
	check(t, err)
	w.tables = append(w.tables, table)
	check(t, w.lb.SetTable(0, table))
}

// changeTargets has a target leave, or one that has left join.
func (w *loadWorld) changeTargets(t *testing.T, _ int) {
	present := 0
	for _, weight := range w.weights {
		present += int(weight)
	}
	at := w.r.IntN(len(w.weights))
	for w.weights[at] == 1 && present == 1 {
		at = w.r.IntN(len(w.weights))
	}
	w.weights[at] ^= 1
	w.balanceBy(t)
}

// changeWeights gives one target another weight.
func (w *loadWorld) changeWeights(t *testing.T, _ int) {
	at := w.r.IntN(len(w.weights))
	w.weights[at] = uint16(1 + w.r.IntN(maglev.MaxWeight))
	w.balanceBy(t)
}

// changeFlows sends the traffic by other rules to the same stream, beside others
// that it does not match; some of them need a larger program.
func (w *loadWorld) changeFlows(t *testing.T, i int) {
	others := w.r.IntN(300)
	if i == loadChanges*9/10 {
		others = 4000
	}
	w.setRules(t, func(r *Rules) {
		w.vips(r, false)
		r.Flows = append(manyRules(others, r.VIPs[0]), w.cover(i, r.VIPs)...)
	})
}

// cover returns rules that cover all traffic in one of several ways.
func (w *loadWorld) cover(i int, vips []netip.Prefix) []classify.Rule {
	rule := func(name string, change func(r *classify.Rule)) classify.Rule {
		r := classify.Rule{Name: fmt.Sprintf("%s-%d", name, i), VIPs: vips, Priority: int32(w.r.IntN(9)), Flow: uint32(i)}
		change(&r)
		return r
	}
	all := func(*classify.Rule) {}
	border := uint16(w.r.IntN(1 << 16))
	switch i % 5 {
	case 0:
		return []classify.Rule{rule("udp", func(r *classify.Rule) { r.Protocols = []uint8{packet.UDP} })}
	case 1:
		return []classify.Rule{
			rule("low", func(r *classify.Rule) { r.SourcePorts = []classify.PortRange{{Last: border}} }),
			rule("high", func(r *classify.Rule) { r.SourcePorts = []classify.PortRange{{First: border, Last: 65535}} }),
		}
	case 2:
		return []classify.Rule{
			rule("client", func(r *classify.Rule) {
				r.Sources = []netip.Prefix{netip.PrefixFrom(client4, 32), netip.PrefixFrom(client6, 128)}
			}),
		}
	case 3: // every other number of a flow
		return []classify.Rule{
			rule("odd", func(r *classify.Rule) {
				r.ByteMatches = []classify.ByteMatch{{Protocol: packet.UDP, Offset: 8 + 11, Width: 1, Mask: 1, Value: 1}}
			}),
			rule("rest", all),
		}
	}
	return []classify.Rule{rule("all", all)}
}

// changeVIPs adds and removes VIPs beside and around those of the traffic, and one
// of each version that has traffic from then on.
func (w *loadWorld) changeVIPs(t *testing.T, i int) {
	w.setRules(t, func(r *Rules) {
		w.vips(r, i >= loadChanges/2)
		for range w.r.IntN(30) {
			more := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(w.r.IntN(3)), 1, byte(w.r.IntN(256))}), 32)
			if w.r.IntN(2) == 0 {
				more = netip.PrefixFrom(to6(more.Addr()), 96+w.r.IntN(33)).Masked()
			}
			if !slices.Contains(r.VIPs, more) {
				r.VIPs = append(r.VIPs, more)
			}
		}
		around := netip.MustParsePrefix("20.0.0.0/24")
		if w.r.IntN(2) == 0 {
			r.VIPs = append(r.VIPs, around)
			// Its rules are those of the VIP inside as well, which come first.
			r.Flows = append(r.Flows, classify.Rule{Name: "around", Priority: -1, VIPs: []netip.Prefix{around}, Stream: 1})
		}
	})
	if i == loadChanges/2 {
		w.sender.active.Store(int32(len(w.sender.flows)))
	}
}

// vips leaves the VIPs with traffic; those on the client's link are more of them.
func (w *loadWorld) vips(r *Rules, more bool) {
	r.VIPs = []netip.Prefix{netip.PrefixFrom(routed4, 32), netip.PrefixFrom(routed6, 128)}
	if more {
		r.VIPs = append(r.VIPs, netip.PrefixFrom(onLink4, 32), netip.PrefixFrom(onLink6, 128))
	}
	r.Flows = []classify.Rule{{Name: "all", VIPs: slices.Clone(r.VIPs)}}
}
