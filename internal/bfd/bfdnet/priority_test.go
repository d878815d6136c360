// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

// All threads of the process have the priority, that of BFD a higher one; while
// the process computes only that one has it.
func TestPriority(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWire(t, 1)
	here, _, _ := everyLink(1, fast())
	e := startEnd(t, w.ours, here)
	if r := e.report(); r.Process != realTime || r.Thread != realTime {
		t.Skipf("real-time priorities are not permitted here: %s, %s", r.Process, r.Thread)
	}
	is := func(ordinary bool) func() bool {
		return func() bool {
			threads := priorities(t, e.pid)
			return threads[threadPriority] == 1 && (threads[0] > 0) == ordinary && (threads[processPriority] > 0) != ordinary
		}
	}
	testutil.Eventually(t, upLimit, "all threads have the priority", is(false))
	e.ask(tellAndCompute)
	testutil.Eventually(t, upLimit, "a process that computes is an ordinary one", is(true))
	e.ask(tell)
	testutil.Eventually(t, upLimit, "a process that is quiet has the priority again", is(false))
}

// priorities counts the threads of a process by their real-time priorities; 0 is
// none.
func priorities(t *testing.T, pid int) map[uint32]int {
	t.Helper()
	count := map[uint32]int{}
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if attr, err := unix.SchedGetAttr(tid, 0); err == nil { // it may have ended
			count[attr.Priority]++
		}
	}
	return count
}
