// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// run executes `weft bench` in process.
func run(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := NewCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func TestMaglevJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "curve.svg")
	args := []string{"maglev", "--sizes", "4099,1009", "--targets", "10,2", "--leavers", "4", "--failed", "50,1", "--rounds", "1", "-o", "json"}
	out, err := run(t.Context(), append(args, "--plot", file)...)
	if err != nil {
		t.Fatal(err)
	}
	var report maglevReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Leaving) != 4 || len(report.Failing) != 4 || len(report.Paper.Statement) == 0 {
		t.Fatalf("report is %+v", report)
	}
	// With two targets, all slots fall to the one that stays: none of its own move.
	if r := report.Leaving[0]; r.Size != 4099 || r.Targets != 2 || r.Leavers != 2 || r.Max != 0 || r.Build <= 0 {
		t.Errorf("2 targets: %+v", r)
	}
	if r := report.Leaving[3]; r.Size != 1009 || r.Targets != 10 || r.Leavers != 4 || r.Mean <= 0 || r.Mean > r.Max || r.Max > 0.1 {
		t.Errorf("10 targets: %+v", r)
	}
	// 65537 slots of 1000 targets: 65 or 66 are one target's.
	if r := report.Failing[0]; r.Size != 65537 || r.Failed != 1 || r.Due < 65./65537 || r.Due > 66./65537 || r.Changed <= r.Due {
		t.Errorf("one of 1000: %+v", r)
	}
	if one, fifty := report.Failing[2], report.Failing[3]; one.Changed >= fifty.Changed || fifty.Changed >= report.Failing[1].Changed {
		t.Errorf("larger tables or fewer failures move more: %+v", report.Failing)
	}
	again, err := run(t.Context(), args...)
	var second maglevReport
	if err != nil || json.Unmarshal([]byte(again), &second) != nil || !slices.Equal(report.Failing, second.Failing) {
		t.Errorf("the same seed has another outcome, %v", err)
	}
	wantSVG(t, file, "4099 slots, mean", "655373 slots")
}

// wantSVG looks for a drawing with these legends.
func wantSVG(t *testing.T, file string, parts ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err = decoder.Token(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("plot is not XML: %v", err)
	}
	for _, part := range parts {
		if !bytes.Contains(data, []byte(part)) {
			t.Errorf("plot has no %q", part)
		}
	}
}

func TestMaglevTable(t *testing.T) {
	out, err := run(t.Context(), "maglev", "--sizes", "1009", "--targets", "3", "--failed", "1", "--rounds", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"One of N targets leaves", "1009  3        336", "655373  0.1 %  1", "22.9 ms"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
}

func TestBadArguments(t *testing.T) {
	for want, args := range map[string][]string{
		`no benchmark "nope"`: {"nope"},
		"--sizes: 100 is":     {"maglev", "--sizes", "100"},
		"--sizes: 16777259":   {"maglev", "--sizes", "16777259"},
		"--targets: 1 is":     {"maglev", "--targets", "1"},
		"--targets: 14 is":    {"maglev", "--sizes", "13", "--targets", "14"},
		"--failed: 1000":      {"maglev", "--failed", "1000"},
		"--leavers":           {"maglev", "--leavers", "0"},
		"--targets\" flag":    {"maglev", "--targets", ""},
		"--nodes: 0 is":       {"attach", "--nodes", "0"},
		"--levels: -1 is":     {"attach", "--levels", "-1"},
		"--samples and":       {"attach", "--samples", "0"},
		"--idle must":         {"attach", "--idle", "0s"},
		"write plot":          {"maglev", "--sizes", "13", "--targets", "2", "--failed", "1", "--rounds", "1", "--plot", "/nonexistent/x.svg"},
	} {
		if _, err := run(t.Context(), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := run(ctx, "maglev"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
