// SPDX-License-Identifier: Apache-2.0

package bfdnet

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/testutil"
)

// TestSoak holds eight sessions beside twice as many busy processes as there are
// processors, for WEFT_TEST_SOAK (5s): 3 x 50 ms must not raise an alarm; what
// 3 x 10 ms does is printed.
func TestSoak(t *testing.T) {
	duration := 5 * time.Second
	if text := os.Getenv("WEFT_TEST_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, interval := range []time.Duration{50 * time.Millisecond, 10 * time.Millisecond} {
		t.Run(interval.String(), func(t *testing.T) {
			testutil.CheckLeaks(t)
			w := newWire(t, 4)
			ours, theirs, names := pair(t, w, 4, bfd.Config{MinTx: interval, MinRx: interval, Multiplier: 3})
			for range 2 * runtime.NumCPU() {
				busy(t)
			}
			before, start := processorTime(t), time.Now()
			time.Sleep(duration) // is the measurement
			cost := (processorTime(t) - before) / time.Duration(2*len(names))
			var flaps uint64
			for _, name := range names {
				flaps += ours.status(name).Flaps + theirs.status(name).Flaps
			}
			t.Logf("%d sessions of 3 x %v for %v (%s): %d false alarms; %.2f %% of a processor for each end of a session",
				len(names), interval, duration, ours.Scheduling(), flaps, 100*cost.Seconds()/time.Since(start).Seconds())
			if flaps > 0 && interval >= 50*time.Millisecond {
				t.Errorf("%d false alarms: %+v", flaps, append(ours.Status(), theirs.Status()...))
			}
		})
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

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
