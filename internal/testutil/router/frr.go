// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/router"
	"github.com/weft-project/weft/internal/testutil"
)

// FRR is a running FRR. Its methods are for one goroutine; what fails, fails the
// test.
type FRR struct {
	*router.FRR
	t testing.TB
}

// StartFRR is router.StartFRR until cleanup.
func StartFRR(t testing.TB, ns, config string) *FRR {
	t.Helper()
	testutil.Require(t, "frr")
	f, err := router.StartFRR(t.Context(), ns, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Kill()
		if t.Failed() {
			t.Logf("log of FRR:\n%s", f.Log())
		}
		_ = f.Close()
	})
	return &FRR{FRR: f, t: t}
}

// Start is router.FRR.Start.
func (f *FRR) Start() {
	f.t.Helper()
	if err := f.FRR.Start(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

// Apply is router.FRR.Apply.
func (f *FRR) Apply(commands ...string) {
	f.t.Helper()
	if err := f.FRR.Apply(commands...); err != nil {
		f.t.Fatal(err)
	}
}

// JSON runs a command that answers in JSON and decodes its answer.
func (f *FRR) JSON(command string, into any) {
	f.t.Helper()
	out, err := f.Query(command)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		f.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// Signal is router.FRR.Signal.
func (f *FRR) Signal(name string, signal syscall.Signal) {
	f.t.Helper()
	if err := f.FRR.Signal(name, signal); err != nil {
		f.t.Fatal(err)
	}
}
