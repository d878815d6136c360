// SPDX-License-Identifier: Apache-2.0

package router

import (
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-project/weft/internal/testutil"
)

const frrDaemons = "/usr/lib/frr"

// daemons of FRR, in the order in which they start.
var daemons = []string{"zebra", "bfdd", "bgpd", "staticd"}

// FRR is a running FRR: zebra, bfdd, bgpd and staticd. Its methods are for one
// goroutine.
type FRR struct {
	t         testing.TB
	ns, dir   string
	config    string
	processes map[string]*process
}

// StartFRR starts FRR in a namespace ("" is the present one) until cleanup and
// returns when it has taken the configuration (that of all daemons together, as
// "show running-config" writes it).
func StartFRR(t testing.TB, ns, config string) *FRR {
	t.Helper()
	testutil.Require(t, "frr")
	f := &FRR{t: t, ns: ns, dir: tempDir(t), config: config, processes: map[string]*process{}}
	t.Cleanup(func() {
		f.Kill()
		if t.Failed() {
			t.Logf("log of FRR:\n%s", f.Log())
		}
	})
	write(t, f.file("vtysh.conf"), "")
	write(t, f.file("empty"), "")
	f.own()
	f.Start()
	return f
}

// Start starts the daemons that do not run, and configures all as at first: what
// Apply changed since is gone from those that had ended.
func (f *FRR) Start() {
	f.t.Helper()
	for _, name := range daemons {
		if p := f.processes[name]; p == nil || !p.running() {
			f.start(name)
		}
	}
	testutil.Eventually(f.t, startLimit, "all of FRR answers", func() bool {
		for _, name := range daemons {
			if p := f.processes[name]; !p.running() {
				f.t.Fatalf("%s has ended: %s%s", name, p.out.String(), f.Log())
			}
		}
		out, err := f.Query("show daemons")
		return err == nil && !slices.ContainsFunc(daemons, func(name string) bool { return !strings.Contains(out, name) })
	})
	write(f.t, f.file("conf"), f.config)
	if out, err := f.vtysh("-f", f.file("conf")); err != nil {
		f.t.Fatalf("configure FRR: %v%s", err, out)
	}
}

func (f *FRR) start(name string) {
	f.t.Helper()
	_ = os.Remove(f.file(name + ".vty")) // of a killed one
	if name == "zebra" {
		_ = os.Remove(f.file("zserv.api"))
	}
	args := []string{"-f", f.file("empty"), "-i", f.file(name + ".pid"), "-z", f.file("zserv.api"),
		"--vty_socket", f.dir, "-A", "127.0.0.1", "-P", "0", "--log", "file:" + f.file(name+".log")}
	if name == "bfdd" {
		args = append(args, "--bfdctl", f.file("bfdd.ctl"))
	}
	var err error
	if f.processes[name], err = startProcess(f.ns, filepath.Join(frrDaemons, name), args...); err != nil {
		f.t.Fatal(err)
	}
	if name == "zebra" {
		// Who does not find it at first tries again after ten seconds only.
		testutil.Eventually(f.t, startLimit, "zebra listens", func() bool {
			_, err := os.Stat(f.file("zserv.api"))
			return err == nil
		})
	}
}

// own gives the directory to the user that the daemons become: as root they do
// not run.
func (f *FRR) own() {
	f.t.Helper()
	owner, err := user.Lookup("frr")
	if err != nil {
		f.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	for _, name := range []string{"", "vtysh.conf", "empty"} {
		if err := os.Chown(f.file(name), uid, gid); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Apply runs commands in the configuration mode, in one go.
func (f *FRR) Apply(commands ...string) {
	f.t.Helper()
	args := []string{"-c", "configure terminal"}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	if out, err := f.vtysh(args...); err != nil || strings.Contains(out, "%") {
		f.t.Fatalf("configure FRR: %v: %s", err, out)
	}
}

// Query runs one command of vtysh.
func (f *FRR) Query(command string) (string, error) { return f.vtysh("-c", command) }

// JSON runs a command that answers in JSON and decodes its answer.
func (f *FRR) JSON(command string, into any) {
	f.t.Helper()
	out, err := f.Query(command)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		f.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

func (f *FRR) vtysh(args ...string) (string, error) {
	return query("vtysh", append([]string{"--vty_socket", f.dir, "--config_dir", f.dir}, args...)...)
}

// Kill ends the named daemons, by default all, without a word to their
// neighbours.
func (f *FRR) Kill(names ...string) { f.end(syscall.SIGKILL, names) }

// Stop ends the named daemons, by default all, as a shutdown does.
func (f *FRR) Stop(names ...string) { f.end(syscall.SIGTERM, names) }

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
func (f *FRR) Signal(name string, signal syscall.Signal) {
	f.t.Helper()
	if err := f.processes[name].cmd.Process.Signal(signal); err != nil {
		f.t.Fatal(err)
	}
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
