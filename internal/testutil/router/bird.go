// SPDX-License-Identifier: Apache-2.0

package router

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
)

// BIRD is a running BIRD 2. Its methods are for one goroutine.
type BIRD struct {
	t       testing.TB
	ns, dir string
	process *process
}

// StartBIRD starts BIRD in a namespace ("" is the present one) until cleanup and
// returns when it answers. The configuration needs a router id where the
// namespace has no IPv4 address. It is given a log and times of microseconds.
func StartBIRD(t testing.TB, ns, config string) *BIRD {
	t.Helper()
	testutil.Require(t, "bird")
	b := &BIRD{t: t, ns: ns, dir: tempDir(t)}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("log of BIRD:\n%s", b.Log())
		}
	})
	b.writeConfig(config)
	b.Start()
	return b
}

// Start starts a BIRD that was stopped or killed again, with its last
// configuration; "-R" lets it recover gracefully.
func (b *BIRD) Start(args ...string) {
	b.t.Helper()
	// The socket of a killed one would answer nobody.
	_ = os.Remove(b.file("ctl"))
	var err error
	b.process, err = startProcess(b.ns, "bird", append([]string{"-f", "-c", b.file("conf"), "-s", b.file("ctl"), "-P", b.file("pid")}, args...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	testutil.Eventually(b.t, startLimit, "BIRD answers", func() bool {
		if !b.process.running() {
			b.t.Fatalf("BIRD has ended: %s", b.process.out.String())
		}
		_, err := b.Query("show status")
		return err == nil
	})
}

// Configure replaces the configuration without a restart.
func (b *BIRD) Configure(config string) {
	b.t.Helper()
	b.writeConfig(config)
	if out, err := b.Query("configure"); err != nil || !strings.Contains(out, "Reconfigur") {
		b.t.Fatalf("configure BIRD: %v: %s", err, out)
	}
}

// Query asks over the control socket; the answer has no greeting.
func (b *BIRD) Query(command string) (string, error) {
	out, err := query("birdc", append([]string{"-s", b.file("ctl")}, strings.Fields(command)...)...)
	_, out, _ = strings.Cut(out, "\n")
	return out, err
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

// Kill ends it without a word to its neighbours.
func (b *BIRD) Kill() { b.end(syscall.SIGKILL) }

// Stop ends it as a shutdown of the machine does.
func (b *BIRD) Stop() { b.end(syscall.SIGTERM) }

// Signal sends a signal, such as SIGSTOP, and waits for nothing.
func (b *BIRD) Signal(signal syscall.Signal) {
	b.t.Helper()
	if err := b.process.cmd.Process.Signal(signal); err != nil {
		b.t.Fatal(err)
	}
}

// Pid is its process.
func (b *BIRD) Pid() int { return b.process.cmd.Process.Pid }

// Log is what it has logged so far.
func (b *BIRD) Log() string {
	log, _ := os.ReadFile(b.file("log"))
	return string(log)
}

func (b *BIRD) end(signal syscall.Signal) {
	if b.process != nil {
		b.process.end(signal)
	}
}

func (b *BIRD) file(name string) string { return filepath.Join(b.dir, name) }

func (b *BIRD) writeConfig(config string) {
	b.t.Helper()
	const clock = "\"%s.%6f\";\n" // seconds since 1970
	write(b.t, b.file("conf"), "log \""+b.file("log")+"\" all;\n"+
		"timeformat protocol "+clock+"timeformat route "+clock+config)
}
