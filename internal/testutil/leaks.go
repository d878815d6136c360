// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-project/weft/internal/nl"
)

// leakLimit is how long things may take to end.
var leakLimit = 5 * time.Second

// CheckLeaks fails the test if, after all cleanups registered later, there are
// more goroutines or open descriptors (BPF programs, maps and links are
// descriptors, too) than now, or new interfaces in the namespaces ("" is the
// host's; name it only where no other process makes interfaces meanwhile).
// Call it first in a test.
func CheckLeaks(t testing.TB, namespaces ...string) {
	t.Helper()
	goroutines := goleak.IgnoreCurrent()
	fds := descriptors(t)
	links := make(map[string]map[string]int, len(namespaces))
	for _, ns := range namespaces {
		links[ns] = linkNames(t, ns)
	}
	t.Cleanup(func() {
		if err := goleak.Find(goroutines); err != nil {
			t.Errorf("goroutines remain: %v", err)
		}
		var remain []string
		if !poll(leakLimit, func() bool {
			now := descriptors(t)
			if now["pipe"] > fds["pipe"] {
				runtime.GC() // closes the pipes that io.Copy between connections has kept for the next time
			}
			remain = surplus(fds, now)
			return len(remain) == 0
		}) {
			t.Errorf("descriptors remain: %s", strings.Join(remain, ", "))
		}
		for ns, before := range links {
			if !poll(leakLimit, func() bool { remain = surplus(before, linkNames(t, ns)); return len(remain) == 0 }) {
				t.Errorf("interfaces remain in namespace %q: %s", ns, strings.Join(remain, ", "))
			}
		}
	})
}

// descriptors counts the open descriptors by what they show.
func descriptors(t testing.TB) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil {
			continue // the descriptor of ReadDir itself
		}
		counts[kindOf(target)]++
	}
	// The runtime's poller starts at the first use.
	delete(counts, "anon_inode:[eventpoll]")
	delete(counts, "anon_inode:[eventfd]")
	return counts
}

// kindOf strips the inode number, so that a replaced socket is no leak.
func kindOf(target string) string {
	if kind, _, ok := strings.Cut(target, ":["); ok && kind != "anon_inode" {
		return kind
	}
	return target
}

func linkNames(t testing.TB, ns string) map[string]int {
	t.Helper()
	h, err := nl.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]int, len(links))
	for _, link := range links {
		names[link.Name]++
	}
	return names
}

func surplus(before, after map[string]int) []string {
	var found []string
	for what, count := range after {
		if more := count - before[what]; more > 0 {
			found = append(found, fmt.Sprintf("%d %s", more, what))
		}
	}
	return found
}
