// SPDX-License-Identifier: Apache-2.0

// Package test holds the end-to-end tests: everything together, on the real
// kernel, through the commands that users run.
package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/frontend/process"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
)

// TestMain lets the test binary stand in for the weft binary, because the demo
// runs commands and workloads as processes of their own.
func TestMain(m *testing.M) {
	process.MaybeServe()
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		if child, ok := children[os.Args[1]]; ok {
			if err := child(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		os.Exit(weft.Run(context.Background(), cli.OSEnv(), os.Args[1:], up.NewCommand(), up.NewDownCommand()))
	}
	level := log.LevelError
	if name := os.Getenv("WEFT_LOG"); name != "" {
		level, _ = log.ParseLevel(name)
	}
	log.Setup(os.Stderr, level)
	code := m.Run()
	if binary.dir != "" {
		_ = os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// TestDemo runs the README's first command, on one node and on three, which fails
// with any of its checks. It is built as a user builds it: the race detector
// would slow it and its commands down beyond what it measures.
func TestDemo(t *testing.T) {
	t.Run("one node", func(t *testing.T) { runDemo(t) })
	t.Run("three nodes", func(t *testing.T) { runDemo(t, "--nodes", "3") })
}

func runDemo(t *testing.T, args ...string) {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // most of it for compiling
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./cmd/weft", "demo"}, args...)...)
	cmd.Dir = ".."
	// Interrupted, the demo cleans up; go run does not pass that on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "All checks passed.") {
		t.Fatalf("demo: %v", err)
	}
}
