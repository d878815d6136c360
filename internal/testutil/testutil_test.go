// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weft-project/weft/internal/nl"
)

// recorder is a test that collects its errors and cleanups.
type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
	skipped  bool
	fatal    bool
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true }
func (r *recorder) Fatalf(string, ...any) { r.fatal = true }

func (r *recorder) end() string {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return strings.Join(r.errors, "; ")
}

func TestCheckLeaks(t *testing.T) {
	Require(t, "netns")
	ns := NetNS(t)
	r := &recorder{TB: t}
	CheckLeaks(r, ns)
	if got := r.end(); got != "" {
		t.Errorf("nothing leaked, and it says %s", got)
	}

	t.Cleanup(shorten())
	r = &recorder{TB: t}
	CheckLeaks(r, ns)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() { <-stop }()
	h := Handle(t, ns)
	link, _, err := h.AddVeth(nl.Veth{Name: "leaked", PeerName: "peer"})
	if err != nil {
		t.Fatal(err)
	}
	got := r.end()
	for _, want := range []string{"goroutines remain", "1 /dev/null", "1 leaked", "1 peer"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not tell of %q", got, want)
		}
	}
	close(stop)
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if err := h.DeleteLink(link.Index); err != nil {
		t.Error(err)
	}
}

// shorten makes the check impatient, until the returned function is called.
func shorten() func() {
	old := leakLimit
	leakLimit = 0
	return func() { leakLimit = old }
}

func TestRequire(t *testing.T) {
	for _, c := range []struct {
		env            string
		skipped, fatal bool
	}{
		{"", true, false}, {"bpf,netns", true, false}, {"bpf,flying", false, true},
	} {
		t.Setenv(requireEnv, c.env)
		r := &recorder{TB: t}
		Require(r, "flying")
		if r.skipped != c.skipped || r.fatal != c.fatal {
			t.Errorf("%s=%s: skipped %v, failed %v", requireEnv, c.env, r.skipped, r.fatal)
		}
	}
}
