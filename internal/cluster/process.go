// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weft-project/weft/internal/netns"
)

// Process is one process of a cluster. It can be started again and again; its
// log goes on in the same file.
type Process struct {
	Name  string // unique in the cluster
	NetNS string // path of the namespace that it runs in
	Log   string // path of what it writes to its standard error

	binary  string
	args    []string
	env     []string // beside this process's own
	socket  string   // ready when somebody listens there; "": when it says so
	metrics string   // where its metrics are; "": nowhere
	mu      sync.Mutex
	run     *run // nil before the first start
}

// run is one life of a process.
type run struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it has ended
	err   error         // after done
	asked atomic.Bool   // somebody wanted it to end
}

const (
	ready        = "ready\n"
	readyTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
	poll         = 2 * time.Millisecond
)

// Start runs the process and waits until it is ready.
func (p *Process) Start(ctx context.Context) error {
	r, greeting, err := p.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if p.socket != "" {
		err = r.listens(ctx, p.socket)
	} else {
		err = r.greets(ctx, greeting)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w; its log:\n%s", p.Name, err, p.Tail(20)), p.Kill())
	}
	return nil
}

// Launch is Start without the wait.
func (p *Process) Launch() error {
	r, greeting, err := p.launch()
	if err == nil && greeting != nil {
		go func() { _ = r.greets(context.Background(), greeting) }()
	}
	return err
}

func (p *Process) launch() (*run, io.Reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && p.run.alive() {
		return nil, nil, errors.New("it runs already")
	}
	if err := os.MkdirAll(filepath.Dir(p.Log), 0o755); err != nil {
		return nil, nil, err
	}
	logFile, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = logFile.Close() }()
	r := &run{cmd: exec.Command(p.binary, p.args...), done: make(chan struct{})}
	r.cmd.Env = append(os.Environ(), p.env...)
	r.cmd.Stderr = logFile
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for who started the cluster
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	var greeting io.Reader
	if p.socket != "" {
		r.cmd.Stdout = logFile
	} else if greeting, err = r.cmd.StdoutPipe(); err != nil {
		return nil, nil, errors.Join(err, r.stdin.Close())
	}
	if err := netns.Do(p.NetNS, r.cmd.Start); err != nil {
		return nil, nil, err
	}
	p.run = r
	if greeting == nil {
		go r.reap()
	}
	return r, greeting, nil
}

// reap waits for the end; nobody may read the process's output then.
func (r *run) reap() {
	r.err = r.cmd.Wait()
	close(r.done)
}

func (r *run) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// listens waits until the process accepts connections on a socket.
func (r *run) listens(ctx context.Context, socket string) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return conn.Close()
		}
		select {
		case <-r.done:
			return fmt.Errorf("it ended: %w", r.err)
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", socket, ctx.Err())
		case <-tick.C:
		}
	}
}

// greets waits for the first line of the process.
func (r *run) greets(ctx context.Context, greeting io.Reader) error {
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(greeting).ReadString('\n')
		if line == ready {
			err = nil
		} else {
			err = fmt.Errorf("it said %q: %w", line, err)
		}
		said <- err
		r.reap()
	}()
	select {
	case err := <-said:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alive says whether the process that was started last still runs.
func (p *Process) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run != nil && p.run.alive()
}

// PID returns the id of the process that was started last, 0 if none was.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return 0
	}
	return p.run.cmd.Process.Pid
}

// Stop asks the process to end, as a service manager does, and waits for it. One
// that has ended without being asked is an error.
func (p *Process) Stop() error {
	r := p.current()
	if r == nil {
		return nil
	}
	if !r.alive() {
		if r.asked.Load() {
			return nil
		}
		return fmt.Errorf("%s has ended by itself: %w; its log:\n%s", p.Name, r.err, p.Tail(20))
	}
	r.asked.Store(true)
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	limit := time.NewTimer(stopTimeout)
	defer limit.Stop()
	select {
	case <-r.done:
	case <-limit.C:
		return errors.Join(fmt.Errorf("stop %s: not within %s; its log:\n%s", p.Name, stopTimeout, p.Tail(20)), p.Kill())
	}
	_ = r.stdin.Close()
	if r.err != nil && !terminated(r.cmd.ProcessState) {
		return fmt.Errorf("stop %s: %w; its log:\n%s", p.Name, r.err, p.Tail(10))
	}
	return nil
}

// terminated says that the signal itself ended the process: it had nothing to
// clean up.
func terminated(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// Kill ends the process at once (kill -9) and reaps it.
func (p *Process) Kill() error {
	r := p.current()
	if r == nil {
		return nil
	}
	r.asked.Store(true)
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-r.done
	_ = r.stdin.Close()
	return nil
}

// Pause stops the process's threads until Resume.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Use changes the binary for the next start.
func (p *Process) Use(binary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.binary = binary
}

func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// signal does nothing to a process that has ended.
func (p *Process) signal(s syscall.Signal) error {
	r := p.current()
	if r == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", s, p.Name, err)
	}
	return nil
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
