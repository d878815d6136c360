// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/app/control"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/testutil"
)

// TestMain lets the test binary be the processes of a cluster.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		commands := append(cluster.NewCommands(), up.NewCommand(), control.NewRegistryCommand(), control.NewNSMgrCommand())
		os.Exit(weft.Run(context.Background(), cli.OSEnv(), os.Args[1:], commands...))
	}
	os.Exit(m.Run())
}

// TestAttach runs the benchmark small, with the components of a node apart and
// together.
func TestAttach(t *testing.T) {
	for name, flags := range map[string][]string{"apart": nil, "together": {"--together"}} {
		t.Run(name, func(t *testing.T) {
			testutil.Require(t, "bpf", "netns")
			testutil.CheckLeaks(t)
			file := filepath.Join(t.TempDir(), "attach.svg")
			out, err := run(t.Context(), append([]string{"attach", "--nodes", "2", "--levels", "4,0", "--samples", "2",
				"--settle", "0s", "--idle", "10ms", "--plot", file, "-o", "json"}, flags...)...)
			if err != nil {
				t.Fatal(err)
			}
			var report attachReport
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatal(err)
			}
			if len(report.Levels) != 2 || len(report.AttachRates) != 1 || report.AttachRates[0].PerSecond <= 0 || report.DetachRate <= 0 {
				t.Fatalf("report is %s", out)
			}
			for i, existing := range []int{0, 4} {
				level := report.Levels[i]
				if level.Existing != existing || level.Remote == nil {
					t.Fatalf("level %d is %+v", i, level)
				}
				for leg, times := range level.kinds() {
					if times.Attach.P50 <= 0 || times.Attach.P99 < times.Attach.P50 || times.Detach.P50 <= 0 {
						t.Errorf("%d existing, %s leg: %+v", existing, leg, times)
					}
				}
				for _, u := range level.Processes {
					if u.RSS <= u.Anonymous || u.Anonymous == 0 || u.Descriptors == 0 || u.Threads == 0 {
						t.Errorf("%d existing: %+v", existing, u)
					}
				}
			}
			wantSVG(t, file, "remote leg, 99th percentile", "until it is gone")
			var table strings.Builder
			if err := report.print(&table); err != nil || !strings.Contains(table.String(), "4         remote") ||
				!strings.Contains(table.String(), "0 to 4") || !strings.Contains(table.String(), "node-1") {
				t.Errorf("table is %v\n%s", err, table.String())
			}
		})
	}
}

func TestCPUTime(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after < before+2*tick; {
		if after, err = cpuTime(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
}
