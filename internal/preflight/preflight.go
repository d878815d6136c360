// SPDX-License-Identifier: Apache-2.0

package preflight

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what the checks look at.
type Machine struct {
	UID         int
	Capable     bool   // has CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF
	Release     string // uname -r
	Filesystems string // /proc/filesystems
}

// The oldest kernel with tcx, the attachment point of every program of ours.
const minMajor, minMinor = 6, 6

// Check returns the first reason why m cannot run the data path.
func (m Machine) Check() error {
	if m.UID != 0 {
		return fmt.Errorf("weft makes network interfaces and loads BPF programs: run it as root (uid is %d)", m.UID)
	}
	if !m.Capable {
		return fmt.Errorf("weft needs CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF: this root has been stripped of them, give them to the container")
	}
	var major, minor int
	if _, err := fmt.Sscanf(m.Release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: expected <major>.<minor>: %w", m.Release, err)
	}
	if major < minMajor || major == minMajor && minor < minMinor {
		return fmt.Errorf("weft needs a kernel from %d.%d, for tcx: this is %s", minMajor, minMinor, m.Release)
	}
	for line := range strings.Lines(m.Filesystems) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "bpf" {
			return nil
		}
	}
	return fmt.Errorf("weft needs bpffs: this kernel was built without it (CONFIG_BPF_SYSCALL)")
}

// This reads the machine that the process runs on.
func This() (Machine, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Machine{}, fmt.Errorf("uname: %w", err)
	}
	fs, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return Machine{}, err
	}
	capable, err := haveCapabilities(unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF)
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		UID:         os.Geteuid(),
		Capable:     capable,
		Release:     unix.ByteSliceToString(u.Release[:]),
		Filesystems: string(fs),
	}, nil
}

// Check checks the machine that the process runs on.
func Check() error {
	m, err := This()
	if err != nil {
		return err
	}
	return m.Check()
}

func haveCapabilities(caps ...uint) (bool, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false, fmt.Errorf("read capabilities: %w", err)
	}
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false, nil
		}
	}
	return true, nil
}
