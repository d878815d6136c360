// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/testutil"
)

// TestSoak holds eight sessions between two processes beside twice as many busy
// ones as there are processors, for WEFT_TEST_SOAK: 3 x 50 ms must not raise an
// alarm; what 3 x 10 ms does is printed. Without WEFT_TEST_SOAK it lasts 5 s and
// blames the machine where it has kept both ends from running.
func TestSoak(t *testing.T) {
	duration, long := 5*time.Second, false
	if text := os.Getenv("WEFT_TEST_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		long = true
	}
	for _, interval := range []time.Duration{50 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(interval.String(), func(t *testing.T) { soak(t, interval, duration, long) })
	}
}

func soak(t *testing.T, interval, duration time.Duration, long bool) {
	testutil.CheckLeaks(t)
	w := newWire(t, 4)
	here, there, _ := everyLink(4, bfd.Config{MinTx: interval, MinRx: interval, Multiplier: 3})
	ends := [2]*end{startEnd(t, w.ours, here), startEnd(t, w.theirs, there)}
	for range 2 * runtime.NumCPU() {
		busy(t)
	}
	var before, after [2]endReport
	for i, e := range ends {
		testutil.Eventually(t, upLimit, "all sessions are up", func() bool { before[i] = e.report(); return before[i].up() })
	}
	before[0] = ends[0].report()
	start := time.Now()
	time.Sleep(duration) // is the measurement
	var alarms uint64
	var late time.Duration
	for i, e := range ends {
		after[i] = e.report()
		flaps := after[i].flaps() - before[i].flaps()
		cost := (after[i].Processors - before[i].Processors).Seconds() / time.Since(start).Seconds() / float64(len(here))
		delays := after[i].Delays
		alarms += flaps
		late = max(late, delays.Longest, delays.OldestPacket)
		t.Logf("end %d of %d sessions of 3 x %v for %v (process %s, thread %s): %d false alarms; %d wake-ups late by 5 ms or more, the latest by %v; oldest packet %v; %.2f %% of a processor for a session",
			i, len(here), interval, duration, after[i].Process, after[i].Thread, flaps, delays.Standstills, delays.Longest, delays.OldestPacket, 100*cost)
	}
	switch {
	case alarms == 0 || interval < 50*time.Millisecond:
	case long:
		t.Errorf("%d false alarms: %+v", alarms, after)
	case late < 2*interval:
		// Three intervals without a packet take two that somebody was late by.
		t.Errorf("%d false alarms though nothing was later than %v: %+v", alarms, late, after)
	}
}

func busy(t testing.TB) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}
