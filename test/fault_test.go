// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
)

// fault is one line of the table: what happens, and what may come of it.
type fault struct {
	name   string
	inject func(b *bed) // returns when what was broken is back
	// The bars. Zero: nothing may be lost or broken, and every interface stays
	// as it is.
	heal    time.Duration // the last packet may be lost so long after the fault
	broken  bool          // connections may break
	differs bool          // interfaces may become others
	// together has each node in one process; apart otherwise.
	together bool
	// pinned load balancers outlive their processes.
	pinned bool
	// encrypted has the workloads on other nodes reach the load balancers by
	// WireGuard only.
	encrypted bool
	// keyRotation is how old the keys get; 0 is the default.
	keyRotation time.Duration
	// stateSize is the room of a node's state directory; 0 is the disk's.
	stateSize int
	// local is for one node only, remote for several only.
	local, remote bool
}

// mechanism is how workloads on other nodes have to reach the load balancers.
func (f fault) mechanism() string {
	if f.encrypted {
		return "wireguard"
	}
	return ""
}

// rate is how much traffic there is.
func (f fault) rate() int {
	if f.encrypted {
		return encryptedRate
	}
	return faultRate
}

// shortFactor is how much longer healing may take with -short, which has three
// nodes only.
const shortFactor = 10

// TestFaults kills, cuts, fills and removes while 20,000 packets a second go
// through the load balancers, and prints for each fault what was lost.
func TestFaults(t *testing.T) {
	testutil.Require(t, "bpf", "netns")
	if raced {
		t.Skip("measured without the race detector, as make test does")
	}
	var lines []string
	for _, nodes := range []int{1, 3} {
		for _, f := range faults {
			if nodes == 1 && f.remote || nodes > 1 && f.local || nodes == 1 && !f.local && testing.Short() {
				continue
			}
			name := fmt.Sprintf("%d-node/%s", nodes, strings.ReplaceAll(f.name, " ", "-"))
			t.Run(name, func(t *testing.T) {
				if why, pending := pendingFaults[name]; pending && os.Getenv("WEFT_TEST_PENDING") == "" {
					t.Skip(why)
				}
				b := newBed(t, nodes, f)
				line := b.try(f)
				lines = append(lines, fmt.Sprintf("| %d | %s", nodes, line))
			})
		}
	}
	t.Logf("\n| nodes | fault | packets sent | lost | connections broken | longest gap | time to heal | adjustable after | leaks |\n"+
		"|---|---|---|---|---|---|---|---|---|\n%s", strings.Join(lines, "\n"))
}

// settleTime is for what nobody is to be waited for any longer.
const settleTime = 20 * time.Second

// try injects a fault, measures what comes of it and checks the bars.
func (b *bed) try(f fault) string {
	b.t.Helper()
	machine := machineDrops(b.t)
	pool, from := b.pool.Stats(), b.steady.Mark()
	start := time.Now()
	f.inject(b)
	b.quiet()
	w, heal := b.steady.Between(from, b.steady.Mark()), time.Duration(0)
	if w.Lost > 0 {
		heal = w.LastLost.Sub(start)
	}
	after := b.pool.Settle(faultConns)
	broken := after.Broken - pool.Broken
	// How well it goes on is a second question, with traffic of its own.
	second := b.steady.Mark()
	adjustable := b.adjustable()
	if !f.differs {
		b.sameInterfaces()
	}
	later := b.steady.Between(second, b.steady.Mark())
	leaks := b.leaks()
	noise := machineDrops(b.t) - machine
	limit := f.heal
	if testing.Short() { // times are for a machine that has nothing else to do
		limit *= shortFactor
	}
	if w.LostUnmoved > 0 && heal > limit {
		b.t.Errorf("%d of %d packets lost on flows that did not move, the last %s after the fault (limit %s); dropped by this machine's queues: %d",
			w.LostUnmoved, w.Sent, heal, limit, noise)
	}
	if beyond := after.BrokenUnmoved() - pool.BrokenUnmoved(); beyond > 0 && !f.broken {
		b.t.Errorf("%d connections broke: %v", beyond, after.LastUnmoved)
	}
	if later.LostUnmoved > 0 {
		b.t.Errorf("%d of %d packets lost on flows that did not move while things were adjusted afterwards; dropped by this machine's queues: %d",
			later.LostUnmoved, later.Sent, noise)
	}
	if w.Rate < float64(f.rate())/2 {
		b.t.Logf("the load did not hold: %.0f packets/s", w.Rate)
	}
	return fmt.Sprintf("%s | %d at %.0f/s | %d | %d | %s | %s | %s | %s |", f.name, w.Sent, w.Rate, w.Lost, broken,
		w.LongestGap.Round(time.Millisecond), heal.Round(time.Millisecond), adjustable.Round(time.Millisecond), leaks)
}

// quiet waits until nothing is lost any more.
func (b *bed) quiet() {
	b.t.Helper()
	var w traffic.Window
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); {
		if w = b.window(300 * time.Millisecond); w.Lost == 0 {
			return
		}
	}
	b.t.Errorf("%s after the fault %d of %d packets are lost still", settleTime, w.Lost, w.Sent)
}

// leaks says what remains that was not there before.
func (b *bed) leaks() string {
	b.t.Helper()
	var grown []string
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); {
		if grown = b.kernelState().growth(b.before); len(grown) == 0 {
			return "0"
		}
		b.window(100 * time.Millisecond)
	}
	b.t.Errorf("leaks: %s", strings.Join(grown, "; "))
	return fmt.Sprint(len(grown))
}

// machineDrops counts what the machine itself has dropped because its queues
// were full: loss that is nobody's fault.
func machineDrops(t *testing.T) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/net/softnet_stat")
	must(t, err)
	for line := range strings.Lines(string(data)) {
		var seen, dropped int
		if _, err := fmt.Sscanf(line, "%x %x", &seen, &dropped); err == nil {
			n += dropped
		}
	}
	return n
}
