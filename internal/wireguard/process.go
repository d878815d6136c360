// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// startLimit and endLimit bound how long a process may take to serve and to end.
const (
	startLimit = 30 * time.Second
	endLimit   = 5 * time.Second
)

// process is a running WireGuard process, not necessarily a child.
type process struct {
	handle *os.Process
	// watch is a connection to its control socket, which ends with it.
	watch net.Conn
}

// start starts a process in the private namespace and waits until it serves.
func start(cfg serveConfig, node, private string) (*process, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	nodeFile, err := netns.Open(node)
	if err != nil {
		return nil, err
	}
	defer func() { _ = nodeFile.Close() }()
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

	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, serveEnv+"=") })
	var child *os.Process
	// A child is born into the namespace of the thread that forks it.
	err = netns.Do(private, func() (err error) {
		child, err = os.StartProcess("/proc/self/exe", []string{"weft-wireguard", cfg.Name}, &os.ProcAttr{
			Dir: "/", Env: append(env, serveEnv+"="+string(text)),
			Files: []*os.File{null, null, null, nodeFile, readyChild},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start WireGuard process: %w", err)
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
		return nil, fmt.Errorf("start WireGuard process: %w", err)
	}
	_ = child.Release() // whoever ends it reaps it
	p, err := attach(cfg.Socket)
	if err != nil {
		return nil, fmt.Errorf("start WireGuard process: %w", err)
	}
	return p, nil
}

// attach finds the process that serves a socket.
func attach(socket string) (*process, error) {
	watch, err := net.DialTimeout("unix", socket, uapiLimit)
	if err != nil {
		return nil, err
	}
	handle, err := server(watch)
	if err != nil {
		return nil, errors.Join(err, watch.Close())
	}
	return &process{handle: handle, watch: watch}, nil
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
		return nil, fmt.Errorf("find WireGuard process: %w", credErr)
	}
	return os.FindProcess(int(cred.Pid))
}

// wait returns when the process has ended or detach was called.
func (p *process) wait() {
	_, _ = p.watch.Read(make([]byte, 1))
}

// detach leaves the process alone.
func (p *process) detach() {
	_ = p.watch.Close()
	_ = p.handle.Release()
}

// end ends the process and waits until it, and with it its interface, is gone.
func (p *process) end() error {
	defer p.detach()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := p.handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end WireGuard process: %w", err)
		}
		if p.gone(endLimit) {
			return nil
		}
	}
	return fmt.Errorf("WireGuard process %d does not end", p.handle.Pid)
}

// gone waits for the end of a process and tells whether it has ended. It may be
// anybody's child; if it is ours, started by this process or an orphan that a
// container's first process has got, it is reaped.
func (p *process) gone(limit time.Duration) bool {
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
