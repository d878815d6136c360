// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// BIRD is a BIRD 2 in a namespace. Its methods are for one goroutine.
type BIRD struct {
	ns, dir string
	process *process
}

// HasBIRD says whether BIRD is installed.
func HasBIRD() bool {
	for _, name := range []string{"bird", "birdc"} {
		if _, err := find(name); err != nil {
			return false
		}
	}
	return true
}

// StartBIRD starts BIRD in a namespace ("" is the present one) until Close and
// returns when it answers. The configuration needs a router id where the
// namespace has no IPv4 address. It is given a log and times of microseconds.
func StartBIRD(ctx context.Context, ns, config string) (*BIRD, error) {
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	b := &BIRD{ns: ns, dir: dir}
	if err = b.writeConfig(config); err == nil {
		err = b.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Start starts a BIRD that was stopped or killed again, with its last
// configuration; "-R" lets it recover gracefully.
func (b *BIRD) Start(ctx context.Context, args ...string) (err error) {
	// The socket of a killed one would answer nobody.
	_ = os.Remove(b.file("ctl"))
	b.process, err = startProcess(b.ns, "bird", append([]string{"-f", "-c", b.file("conf"), "-s", b.file("ctl"), "-P", b.file("pid")}, args...)...)
	if err != nil {
		return err
	}
	return await(ctx, "BIRD answers", func() (bool, error) {
		if !b.process.running() {
			return false, fmt.Errorf("BIRD has ended: %s", b.process.out.String())
		}
		_, err := b.Query("show status")
		return err == nil, nil
	})
}

// Configure replaces the configuration without a restart.
func (b *BIRD) Configure(config string) error {
	if err := b.writeConfig(config); err != nil {
		return err
	}
	out, err := b.Query("configure")
	if err == nil && !strings.Contains(out, "Reconfigur") {
		err = errors.New(out)
	}
	if err != nil {
		return fmt.Errorf("configure BIRD: %w", err)
	}
	return nil
}

// Query asks over the control socket; the answer has no greeting.
func (b *BIRD) Query(command string) (string, error) {
	out, err := query("birdc", append([]string{"-s", b.file("ctl")}, strings.Fields(command)...)...)
	_, out, _ = strings.Cut(out, "\n")
	return out, err
}

// Kill ends it without a word to its neighbours.
func (b *BIRD) Kill() { b.end(syscall.SIGKILL) }

// Stop ends it as a shutdown of the machine does.
func (b *BIRD) Stop() { b.end(syscall.SIGTERM) }

// Close kills it and forgets its configuration and log.
func (b *BIRD) Close() error {
	b.Kill()
	return os.RemoveAll(b.dir)
}

// Signal sends a signal, such as SIGSTOP, and waits for nothing.
func (b *BIRD) Signal(signal syscall.Signal) error { return b.process.cmd.Process.Signal(signal) }

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

func (b *BIRD) writeConfig(config string) error {
	const clock = "\"%s.%6f\";\n" // seconds since 1970
	return os.WriteFile(b.file("conf"), []byte("log \""+b.file("log")+"\" all;\n"+
		"timeformat protocol "+clock+"timeformat route "+clock+config), 0o644)
}
