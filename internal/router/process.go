// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-project/weft/internal/netns"
)

const (
	startLimit = 10 * time.Second
	stopLimit  = 5 * time.Second
	poll       = 5 * time.Millisecond
)

// find returns the path of a program. Users' PATH often lacks the directories of
// the administrator's.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", frrDaemons} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// process is one daemon. It dies with this process, too.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	out  bytes.Buffer  // to be read when it has ended
}

func startProcess(ns, name string, args ...string) (*process, error) {
	path, err := find(name)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	// Ctrl-C is for this process, which ends it in its turn.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := netns.Do(ns, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // who ended it knows why; who waits for an answer reads out
	}()
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends the signal, waits for the end, and kills what does not heed it.
func (p *process) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// await asks until the answer is yes, an error, or overdue.
func await(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if yes, err := ok(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
}

// query runs a command-line client of a router.
func query(name string, args ...string) (string, error) {
	path, err := find(name)
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// tempDir makes a short directory: the path of a socket may have 107 bytes only.
func tempDir() (string, error) { return os.MkdirTemp("", "weft-router-") }
