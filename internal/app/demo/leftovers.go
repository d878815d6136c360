// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/inventory"
)

// leftovers counts everything that a run makes outside its own memory.
type leftovers struct {
	links, namespaces, descriptors map[string]int
	routing                        int // routes and rules of ours in the host's namespace
	bpf                            inventory.Objects
	pins                           []string
	goroutines                     int
}

const pinDir = "/sys/fs/bpf/weft"

// programs and maps of ours start with one of these.
var bpfNames = []string{"lb_", "xc_", "xconnect"}

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
	l.namespaces = tally(names)
	if l.bpf, err = inventory.Of(bpfNames...); err != nil {
		return l, err
	}
	if l.pins, err = inventory.Pins(pinDir); err != nil {
		return l, err
	}
	return l, withHandle("", func(h *nl.Handle) error {
		links, err := h.Links()
		if err != nil {
			return err
		}
		l.links = map[string]int{}
		for _, link := range links {
			l.links[link.Name]++
		}
		l.routing, err = routingOf(h)
		return err
	})
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

func tally(names []string) map[string]int {
	m := map[string]int{}
	for _, n := range names {
		m[n]++
	}
	return m
}

// remains lists what now has more of than before.
func (l leftovers) remains(now leftovers) []string {
	var found []string
	for _, pair := range []struct {
		what        string
		before, now map[string]int
	}{
		{"link", l.links, now.links}, {"namespace", l.namespaces, now.namespaces},
		{"descriptor", l.descriptors, now.descriptors}, {"BPF", l.bpf, now.bpf},
		{"pin", tally(l.pins), tally(now.pins)},
	} {
		for name, n := range pair.now {
			// The runtime's poller starts at the first use and stays.
			if more := n - pair.before[name]; more > 0 && !strings.HasPrefix(name, "anon_inode:[event") {
				found = append(found, fmt.Sprintf("%d %s %s", more, pair.what, name))
			}
		}
	}
	if now.routing > l.routing {
		found = append(found, fmt.Sprintf("%d routes and rules", now.routing-l.routing))
	}
	if now.goroutines > l.goroutines {
		found = append(found, fmt.Sprintf("%d goroutines", now.goroutines-l.goroutines))
	}
	slices.Sort(found)
	return found
}

// leavesNothing compares the machine with what it was before. What the kernel
// frees in the background may take a moment.
func (d *demo) leavesNothing() {
	var remains []string
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		now, err := takeInventory()
		if err != nil {
			d.check(false, "look for leftovers: %v", err)
			return
		}
		if remains = d.before.remains(now); len(remains) == 0 {
			break
		}
	}
	d.check(len(remains) == 0, "no link, pinned or loaded BPF object, route, rule, namespace, goroutine or descriptor remains%s",
		prefixed(": ", strings.Join(remains, ", ")))
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
