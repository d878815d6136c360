// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/selfexec"
)

// serveEnv makes a program a WireGuard process; its value is a serveConfig.
const serveEnv = "WEFT_WIREGUARD_PROCESS"

// serveConfig is what a process is told. It runs in the private namespace.
type serveConfig struct {
	Name   string
	MTU    int
	Port   uint16
	Socket string
}

// nodeFD is the node's namespace, which a process inherits.
const nodeFD = selfexec.FirstFile

// MaybeServe turns the process into a WireGuard process if Open has started it as
// such, and does not return then. Programs that use the package call it first in
// main, tests in TestMain.
func MaybeServe() { selfexec.Serve(serveEnv, serve) }

func serve(cfg serveConfig, ready io.Closer) error {
	unix.CloseOnExec(nodeFD)
	// The terminal's signals and a closed one are the parent's business.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)

	tunnel, err := tun.CreateTUN(cfg.Name, cfg.MTU)
	if err != nil {
		return fmt.Errorf("make tunnel interface: %w", err)
	}
	logger := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	dev := device.NewDevice(alwaysUp(tunnel), &nodeBind{Bind: conn.NewStdNetBind()}, logger)
	defer dev.Close()
	// Peers' addresses are fixed by what they have told over the control plane.
	dev.DisableSomeRoamingForBrokenMobileSemantics()
	if err := up(cfg, dev); err != nil {
		return err
	}
	listener, err := listen(cfg.Socket)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	go accept(listener, dev)
	if err := ready.Close(); err != nil {
		return err
	}
	select {
	case <-end:
	case <-dev.Wait(): // somebody has removed the interface
	}
	return nil
}

// up opens the UDP port first, because the device itself would only log that it
// is taken.
func up(cfg serveConfig, dev *device.Device) error {
	if err := dev.IpcSet(fmt.Sprintf("listen_port=%d\n", cfg.Port)); err != nil {
		return err
	}
	h, err := nl.Open("")
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	link, err := h.LinkByName(cfg.Name)
	if err != nil {
		return err
	}
	if err := h.SetUp(link.Index); err != nil {
		return err
	}
	if err := dev.Up(); err != nil {
		return fmt.Errorf("listen on UDP port %d: %w", cfg.Port, err)
	}
	return nil
}

func listen(path string) (net.Listener, error) {
	// Of a process that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	return listener, nil
}

func accept(listener net.Listener, dev *device.Device) {
	for {
		c, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go dev.IpcHandle(c)
		}
	}
}

// nodeBind opens its sockets in the node's namespace.
type nodeBind struct{ conn.Bind }

func (b *nodeBind) Open(port uint16) (receive []conn.ReceiveFunc, actual uint16, err error) {
	err = netns.Do(fmt.Sprintf("/proc/self/fd/%d", nodeFD), func() error {
		receive, actual, err = b.Bind.Open(port)
		return err
	})
	return receive, actual, err
}

// steadyTUN is an interface that never reports to be up or down. The device would
// follow, and close its sockets, also by a report of the time before it was up.
type steadyTUN struct {
	tun.Device
	events chan tun.Event
}

func alwaysUp(inner tun.Device) *steadyTUN {
	s := &steadyTUN{Device: inner, events: make(chan tun.Event)}
	go func() {
		defer close(s.events)
		for event := range inner.Events() {
			if event &^= tun.EventUp | tun.EventDown; event != 0 {
				s.events <- event
			}
		}
	}()
	return s
}

func (s *steadyTUN) Events() <-chan tun.Event { return s.events }
