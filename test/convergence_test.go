// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/testutil"
)

// TestConvergence makes every fault once, with BIRD as gateways, and holds it
// against what is so by construction, on any machine: a data path that is pinned
// works on without its processes, and everything ends.
func TestConvergence(t *testing.T) {
	testutil.Require(t, "bpf", "netns", "bird")
	cmd := exec.CommandContext(t.Context(), weftBinary(t), "bench", "convergence", "--gateways", "bird",
		"--rate", "500", "--packets", "2000", "--bfd-interval", "300ms", "-o", "json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var report struct {
		Faults []struct {
			Fault    string
			Sent     int
			Lost     int
			LastLost time.Duration  `json:"last-lost-ns"`
			Moved    *time.Duration `json:"moved-ns"`
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	if len(report.Faults) != 6 {
		t.Fatalf("%d faults", len(report.Faults))
	}
	moves := map[string]bool{"link of a replica cut": true, "last target gone": true}
	for _, f := range report.Faults {
		if f.Sent == 0 || f.Lost > f.Sent || f.LastLost < 0 {
			t.Errorf("%s: %+v", f.Fault, f)
		}
		if moves[f.Fault] && (f.Moved == nil || *f.Moved <= 0) {
			t.Errorf("%s: the routes have not changed", f.Fault)
		}
		if f.Fault == "endpoint killed and started again" && f.Lost != 0 {
			t.Errorf("%s: %d of %d packets lost", f.Fault, f.Lost, f.Sent)
		}
	}
}
