// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/router"
	"github.com/weft-project/weft/internal/testutil"
)

// BIRD is a running BIRD 2. Its methods are for one goroutine; what fails, fails
// the test.
type BIRD struct {
	*router.BIRD
	t testing.TB
}

// StartBIRD is router.StartBIRD until cleanup.
func StartBIRD(t testing.TB, ns, config string) *BIRD {
	t.Helper()
	testutil.Require(t, "bird")
	b, err := router.StartBIRD(t.Context(), ns, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("log of BIRD:\n%s", b.Log())
		}
		_ = b.Close()
	})
	return &BIRD{BIRD: b, t: t}
}

// Start is router.BIRD.Start.
func (b *BIRD) Start(args ...string) {
	b.t.Helper()
	// Also in a cleanup, when the test's context has ended.
	if err := b.BIRD.Start(context.Background(), args...); err != nil {
		b.t.Fatal(err)
	}
}

// Configure is router.BIRD.Configure.
func (b *BIRD) Configure(config string) {
	b.t.Helper()
	if err := b.BIRD.Configure(config); err != nil {
		b.t.Fatal(err)
	}
}

// MustQuery is Query that has to succeed.
func (b *BIRD) MustQuery(command string) string {
	b.t.Helper()
	out, err := b.Query(command)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// Signal is router.BIRD.Signal.
func (b *BIRD) Signal(signal syscall.Signal) {
	b.t.Helper()
	if err := b.BIRD.Signal(signal); err != nil {
		b.t.Fatal(err)
	}
}
