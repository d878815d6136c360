// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Inode returns the inode number of the namespace at path.
func Inode(path string) (uint64, error) {
	file, err := Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	return stat.Ino, nil
}

// Find returns the paths by which a living namespace can be reached from here:
// first mounts, such as named namespaces, then processes in it. Who has no path
// of its own any more, because a received descriptor is closed, finds one so
// without holding the namespace. Inode numbers are reused: compare cookies.
func Find(inode uint64) iter.Seq[string] {
	name := fmt.Sprintf("net:[%d]", inode)
	return func(yield func(string) bool) {
		for _, find := range []func(string) []string{mounts, processes} {
			for _, path := range find(name) {
				if !yield(path) {
					return
				}
			}
		}
	}
}

// mounts looks at the roots (4th field) and mount points (5th) of
// proc_pid_mountinfo(5).
func mounts(name string) (paths []string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[3] == name {
			paths = append(paths, fields[4])
		}
	}
	return paths
}

func processes(name string) (paths []string) {
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil
	}
	for _, path := range all {
		if target, err := os.Readlink(path); err == nil && target == name {
			paths = append(paths, path)
		}
	}
	return paths
}
