// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/wireguard"
)

// Sweep removes what a cluster left whose owner was killed: what is in
// namespaces whose names begin with prefix, the namespaces, those of WireGuard,
// the mounts below dir and dir.
func Sweep(prefix, dir string) error {
	names, err := netns.List()
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	var errs []error
	for _, name := range names {
		errs = append(errs, killAt(netns.Path(name)))
	}
	encrypted, err := filepath.Glob(filepath.Join(dir, "*", wireguardDir))
	if err != nil {
		return err
	}
	for _, dir := range encrypted {
		errs = append(errs, wireguard.Remove(dir))
	}
	errs = append(errs, clearMounts(dir))
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// endStrays ends what a component has left running in a node's namespace, such
// as a process that outlives its forwarder by design.
func (c *Cluster) endStrays() error {
	var errs []error
	for _, n := range c.Nodes {
		errs = append(errs, killAt(n.NetNS), wireguard.Remove(n.WireGuardDir()))
	}
	return errors.Join(errs...)
}

// clearMounts unmounts everything below a directory, the newest first.
func clearMounts(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(string(data)), "\n")) {
		// proc_pid_mountinfo(5): the fifth field is where it is.
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
		}
	}
	return errors.Join(errs...)
}

// killAt kills what runs in a namespace, if it is there.
func killAt(path string) error {
	inode, err := netns.Inode(path)
	if err != nil {
		return nil
	}
	return killIn(inode)
}

// killIn kills every process that lives in a namespace of the cluster: nobody
// else can be there.
func killIn(inode uint64) error {
	var errs []error
	for path := range netns.Find(inode) {
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/ns/net", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("kill stray process %d: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
