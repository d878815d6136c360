// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/inventory"
)

// leftovers is what a run makes outside its own memory. All interfaces are in
// namespaces of the demo, which the machine's list of namespaces shows.
type leftovers struct {
	namespaces  []string
	descriptors map[string]int
	bpf         inventory.Objects
	pins        []string
	goroutines  int
}

// orphanPatience is longer than others' tests on the machine are at one thing.
const orphanPatience = 30 * time.Second

const pinDir = "/sys/fs/bpf/weft"

// programs and maps of ours start with one of these.
var bpfNames = []string{"lb", "xc_", "xconnect"}

func takeInventory() (l leftovers, err error) {
	l.goroutines = runtime.NumGoroutine()
	l.descriptors = map[string]int{}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			l.descriptors[kind]++
		}
	}
	names, err := netns.List()
	if err != nil {
		return l, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			l.namespaces = append(l.namespaces, name)
		}
	}
	if l.bpf, err = inventory.Of(bpfNames...); err != nil {
		return l, err
	}
	l.pins, err = inventory.Pins(pinDir)
	return l, err
}

// routingOf counts the rules of ours and the routes of the tables they use.
func routingOf(h *nl.Handle) (int, error) {
	rules, err := h.Rules()
	if err != nil {
		return 0, err
	}
	routes, err := h.Routes(0)
	if err != nil {
		return 0, err
	}
	n := len(rules) + len(routes)
	for _, rule := range rules {
		routes, err := h.Routes(rule.Table)
		if err != nil {
			return 0, err
		}
		n += len(routes)
	}
	return n, nil
}

// remains lists what now has more of than before.
func (l leftovers) remains(now leftovers) []string {
	var found []string
	for _, name := range now.namespaces {
		found = append(found, "namespace "+name)
	}
	for kind, n := range now.descriptors {
		// The runtime's poller starts at the first use and stays.
		if more := n - l.descriptors[kind]; more > 0 && !strings.HasPrefix(kind, "anon_inode:[event") {
			found = append(found, fmt.Sprintf("%d descriptors %s", more, kind))
		}
	}
	if more := now.goroutines - l.goroutines; more > 0 {
		found = append(found, fmt.Sprintf("%d goroutines", more))
	}
	slices.Sort(found)
	return found
}

// orphans returns the new pins and the BPF objects that no process holds, of
// those that were there before. What others on the machine pin or hold in another
// way passes.
func (l leftovers) orphans(now leftovers, before map[string]bool) map[string]bool {
	found := map[string]bool{}
	add := func(what string) {
		if before == nil || before[what] {
			found[what] = true
		}
	}
	fresh := now.bpf.Minus(l.bpf)
	for object := range fresh.Minus(fresh.HeldElsewhere()) {
		add(fmt.Sprintf("BPF %s %s %d", object.Kind, object.Name, object.ID))
	}
	for _, pin := range now.pins {
		if !slices.Contains(l.pins, pin) {
			add("pin " + pin)
		}
	}
	return found
}

// leavesNothing compares the machine with what it was before. What the kernel
// frees in the background may take a moment.
func (d *demo) leavesNothing() {
	var (
		remains []string
		orphans map[string]bool
	)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < patience || len(orphans) > 0 && time.Since(start) < orphanPatience; <-tick.C {
		now, err := takeInventory()
		if err != nil {
			d.check(false, "look for leftovers: %v", err)
			return
		}
		remains, orphans = d.before.remains(now), d.before.orphans(now, orphans)
		if len(remains)+len(orphans) == 0 {
			break
		}
	}
	remains = append(remains, slices.Sorted(maps.Keys(orphans))...)
	d.check(len(remains) == 0, "no link, pinned or loaded BPF object, route, rule, namespace, goroutine or descriptor remains%s",
		prefixed(": ", strings.Join(remains, ", ")))
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
