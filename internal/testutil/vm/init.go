// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Files of the guest, and what its first process prints at the end.
const (
	modulesFile = "/modules"
	argsFile    = "/args"
	exitMarker  = "exit status of the tests: "
)

// MaybeInit makes the process the guest's first one if it is: it mounts what
// programs expect, loads the modules, runs the tests in a child and powers off.
// A package whose tests use Run calls it first in TestMain.
func MaybeInit() {
	if os.Getpid() != 1 {
		return
	}
	if _, err := os.Stat(modulesFile); err != nil {
		return // the first process of a container
	}
	status, err := boot()
	if err != nil {
		fmt.Println("guest:", err)
		status = 1
	}
	fmt.Printf("\n%s%d\n", exitMarker, status)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func boot() (status int, err error) {
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"},
		{"tmp", "/tmp", "tmpfs"}, {"run", "/run", "tmpfs"}, {"bpf", "/sys/fs/bpf", "bpf"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return 0, err
		}
		if err := unix.Mount(m.source, m.target, m.kind, 0, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	modules, err := os.ReadFile(modulesFile)
	if err != nil {
		return 0, err
	}
	for _, module := range strings.Fields(string(modules)) {
		if err := load(module); err != nil {
			return 0, fmt.Errorf("load %s: %w", module, err)
		}
	}
	args, err := os.ReadFile(argsFile)
	if err != nil {
		return 0, err
	}
	return test(strings.Fields(string(args)))
}

func load(module string) error {
	file, err := os.Open(module)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	flags := 0
	if !strings.HasSuffix(module, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(file.Fd()), "", flags); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// test runs the tests in a child, so that the first process remains to power off
// whatever they do.
func test(args []string) (status int, err error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{"PATH=/", "HOME=/tmp", "TMPDIR=/tmp", guestEnv + "=1"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// guestEnv tells the tests that they run in the guest.
const guestEnv = "WEFT_TEST_GUEST"

// Inside tells whether the process runs in the guest.
func Inside() bool { return os.Getenv(guestEnv) != "" }
