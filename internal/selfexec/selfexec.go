// SPDX-License-Identifier: Apache-2.0

package selfexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// startLimit and endLimit bound how long a process may take to serve and to end;
// dialLimit, how long its socket may take to answer.
const (
	startLimit = 30 * time.Second
	endLimit   = 5 * time.Second
	dialLimit  = 10 * time.Second
)

// readyFD is closed when the process serves, after a text when it cannot. Files
// of a Spec follow.
const readyFD = 3

// FirstFile is the descriptor of the first of Spec.Files in the process.
const FirstFile = readyFD + 1

// Spec says what to start.
type Spec struct {
	Name  string // of the process, its first argument
	Title string // more to show in lists of processes; no secrets
	// Env is the variable that makes the program the process; Serve of the same one
	// has to come first in main.
	Env string
	// Config is what Serve gets. It may be seen by whoever may debug the process: no
	// secrets.
	Config any
	NetNS  string // that the process is born into; "" is the caller's
	Socket string // that it serves
	Files  []*os.File
}

// Process is a running process, not necessarily a child.
type Process struct {
	handle *os.Process
	// watch is a connection to its socket, which ends with it.
	watch net.Conn
}

// Start starts a process and waits until it serves.
func Start(s Spec) (*Process, error) {
	if _, ok := os.LookupEnv(s.Env); ok {
		return nil, fmt.Errorf("start %s: this program does not call MaybeServe first in main", s.Name)
	}
	text, err := json.Marshal(s.Config)
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ready.Close() }()
	defer func() { _ = readyChild.Close() }()

	var child *os.Process
	// A child is born into the namespace of the thread that forks it.
	err = netns.Do(s.NetNS, func() (err error) {
		child, err = os.StartProcess("/proc/self/exe", []string{s.Name, s.Title}, &os.ProcAttr{
			Dir: "/", Env: append(os.Environ(), s.Env+"="+string(text)),
			Files: append([]*os.File{null, null, null, readyChild}, s.Files...),
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	_ = readyChild.Close()
	_ = ready.SetReadDeadline(time.Now().Add(startLimit))
	answer, err := io.ReadAll(ready)
	if err == nil && len(answer) > 0 {
		err = errors.New(string(answer))
	}
	if err != nil {
		_ = child.Kill()
		_, _ = child.Wait()
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	_ = child.Release() // whoever ends it reaps it
	p, err := Attach(s.Socket)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	return p, nil
}

// Serve calls serve and ends the process, if it has been started by a Spec with
// the variable; else it returns at once. serve closes ready when it serves.
func Serve[T any](env string, serve func(config T, ready io.Closer) error) {
	text, ok := os.LookupEnv(env)
	if !ok {
		return
	}
	unix.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	var config T
	err := json.Unmarshal([]byte(text), &config)
	if err != nil {
		err = fmt.Errorf("parse %s: %w", env, err)
	} else {
		err = serve(config, ready)
	}
	if err != nil {
		fmt.Fprint(ready, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Attach finds the process that serves a socket.
func Attach(socket string) (*Process, error) {
	watch, err := net.DialTimeout("unix", socket, dialLimit)
	if err != nil {
		return nil, err
	}
	handle, err := server(watch)
	if err != nil {
		return nil, errors.Join(err, watch.Close())
	}
	return &Process{handle: handle, watch: watch}, nil
}

// server returns who listens at the other end. The connection lives and so does
// the process, whose number cannot be another's yet.
func server(c net.Conn) (*os.Process, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if credErr != nil {
		return nil, fmt.Errorf("find process: %w", credErr)
	}
	return os.FindProcess(int(cred.Pid))
}

// Pid returns the number of the process.
func (p *Process) Pid() int { return p.handle.Pid }

// Wait returns when the process has ended or Detach was called.
func (p *Process) Wait() {
	_, _ = p.watch.Read(make([]byte, 1))
}

// Unwatch closes the connection to the socket, for processes that may speak on
// one. Wait does not wait any more.
func (p *Process) Unwatch() { _ = p.watch.Close() }

// Detach leaves the process alone.
func (p *Process) Detach() {
	_ = p.watch.Close()
	_ = p.handle.Release()
}

// Signal sends a signal to the process. One that has ended is no error.
func (p *Process) Signal(signal syscall.Signal) error {
	if err := p.handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// End ends the process and waits until it, and with it what it holds, is gone.
func (p *Process) End() error {
	defer p.Detach()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := p.Signal(signal); err != nil {
			return fmt.Errorf("end process %d: %w", p.handle.Pid, err)
		}
		if p.Gone(endLimit) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", p.handle.Pid)
}

// Gone waits for the end of a process and tells whether it has ended. It may be
// anybody's child; if it is ours, started by this process or an orphan that a
// container's first process has got, it is reaped.
func (p *Process) Gone(limit time.Duration) bool {
	ended := false
	err := p.handle.WithHandle(func(fd uintptr) {
		for deadline := time.Now().Add(limit); !ended; {
			left := time.Until(deadline)
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(left, 0).Milliseconds()))
			ended = n > 0
			if err != nil && !errors.Is(err, unix.EINTR) || left <= 0 {
				return
			}
		}
	})
	if ended || errors.Is(err, os.ErrProcessDone) {
		_, _ = p.handle.Wait()
		return true
	}
	return false
}
