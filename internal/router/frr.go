// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const frrDaemons = "/usr/lib/frr"

// daemons of FRR, in the order in which they start.
var daemons = []string{"zebra", "bfdd", "bgpd", "staticd"}

// FRR is zebra, bfdd, bgpd and staticd in a namespace. Its methods are for one
// goroutine.
type FRR struct {
	ns, dir   string
	config    string
	processes map[string]*process
}

// HasFRR says whether FRR is installed.
func HasFRR() bool {
	for _, name := range append([]string{"vtysh"}, daemons...) {
		if _, err := find(name); err != nil {
			return false
		}
	}
	return true
}

// StartFRR starts FRR in a namespace ("" is the present one) until Close and
// returns when it has taken the configuration (that of all daemons together, as
// "show running-config" writes it).
func StartFRR(ctx context.Context, ns, config string) (*FRR, error) {
	dir, err := tempDir()
	if err != nil {
		return nil, err
	}
	f := &FRR{ns: ns, dir: dir, config: config, processes: map[string]*process{}}
	err = errors.Join(f.write("vtysh.conf", ""), f.write("empty", ""))
	if err == nil {
		err = f.own()
	}
	if err == nil {
		err = f.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Start starts the daemons that do not run, and configures all as at first: what
// Apply changed since is gone from those that had ended.
func (f *FRR) Start(ctx context.Context) error {
	for _, name := range daemons {
		if p := f.processes[name]; p == nil || !p.running() {
			if err := f.start(ctx, name); err != nil {
				return err
			}
		}
	}
	err := await(ctx, "all of FRR answers", func() (bool, error) {
		for _, name := range daemons {
			if p := f.processes[name]; !p.running() {
				return false, fmt.Errorf("%s has ended: %s%s", name, p.out.String(), f.Log())
			}
		}
		out, err := f.Query("show daemons")
		return err == nil && !slices.ContainsFunc(daemons, func(name string) bool { return !strings.Contains(out, name) }), nil
	})
	if err != nil {
		return err
	}
	if err := f.write("conf", f.config); err != nil {
		return err
	}
	if out, err := f.vtysh("-f", f.file("conf")); err != nil {
		return fmt.Errorf("configure FRR: %w%s", err, out)
	}
	return nil
}

func (f *FRR) start(ctx context.Context, name string) (err error) {
	_ = os.Remove(f.file(name + ".vty")) // of a killed one
	if name == "zebra" {
		_ = os.Remove(f.file("zserv.api"))
	}
	args := []string{"-f", f.file("empty"), "-i", f.file(name + ".pid"), "-z", f.file("zserv.api"),
		"--vty_socket", f.dir, "-A", "127.0.0.1", "-P", "0", "--log", "file:" + f.file(name+".log")}
	if name == "bfdd" {
		args = append(args, "--bfdctl", f.file("bfdd.ctl"))
	}
	if f.processes[name], err = startProcess(f.ns, name, args...); err != nil || name != "zebra" {
		return err
	}
	// Who does not find it at first tries again after ten seconds only.
	return await(ctx, "zebra listens", func() (bool, error) {
		_, err := os.Stat(f.file("zserv.api"))
		return err == nil, nil
	})
}

// own gives the directory to the user that the daemons become: as root they do
// not run.
func (f *FRR) own() error {
	owner, err := user.Lookup("frr")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	var errs []error
	for _, name := range []string{"", "vtysh.conf", "empty"} {
		errs = append(errs, os.Chown(f.file(name), uid, gid))
	}
	return errors.Join(errs...)
}

// Apply runs commands in the configuration mode, in one go.
func (f *FRR) Apply(commands ...string) error {
	args := []string{"-c", "configure terminal"}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	out, err := f.vtysh(args...)
	if err == nil && strings.Contains(out, "%") {
		err = errors.New(out)
	}
	if err != nil {
		return fmt.Errorf("configure FRR: %w", err)
	}
	return nil
}

// Query runs one command of vtysh.
func (f *FRR) Query(command string) (string, error) { return f.vtysh("-c", command) }

func (f *FRR) vtysh(args ...string) (string, error) {
	return query("vtysh", append([]string{"--vty_socket", f.dir, "--config_dir", f.dir}, args...)...)
}

// Kill ends the named daemons, by default all, without a word to their
// neighbours.
func (f *FRR) Kill(names ...string) { f.end(syscall.SIGKILL, names) }

// Stop ends the named daemons, by default all, as a shutdown does.
func (f *FRR) Stop(names ...string) { f.end(syscall.SIGTERM, names) }

// Close kills it and forgets its configuration and logs.
func (f *FRR) Close() error {
	f.Kill()
	return os.RemoveAll(f.dir)
}

func (f *FRR) end(signal syscall.Signal, names []string) {
	if len(names) == 0 {
		names = daemons
	}
	for _, name := range slices.Backward(names) { // zebra last
		if p := f.processes[name]; p != nil {
			p.end(signal)
		}
	}
}

// Signal sends a signal, such as SIGSTOP, to one daemon and waits for nothing.
func (f *FRR) Signal(name string, signal syscall.Signal) error {
	return f.processes[name].cmd.Process.Signal(signal)
}

// Log is what all daemons have logged so far.
func (f *FRR) Log() string {
	var all strings.Builder
	for _, name := range daemons {
		log, _ := os.ReadFile(f.file(name + ".log"))
		all.Write(log)
	}
	return all.String()
}

func (f *FRR) file(name string) string { return filepath.Join(f.dir, name) }

func (f *FRR) write(name, text string) error { return os.WriteFile(f.file(name), []byte(text), 0o644) }
