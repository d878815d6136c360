// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"bytes"
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
	is := func(other string) bool { return other == name }
	return func(yield func(string) bool) {
		for _, find := range []func(func(string) bool) []string{mounts, processes} {
			for _, path := range find(is) {
				if !yield(path) {
					return
				}
			}
		}
	}
}

// All returns one path to every living namespace that can be reached from here,
// in the order of Find.
func All() iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, find := range []func(func(string) bool) []string{mounts, processes} {
			for _, path := range find(func(name string) bool {
				fresh := strings.HasPrefix(name, "net:[") && !seen[name]
				seen[name] = true
				return fresh
			}) {
				if !yield(path) {
					return
				}
			}
		}
	}
}

// mounts looks at the roots (4th field) and mount points (5th) of
// proc_pid_mountinfo(5). There may be thousands, and the paths outlive the list.
func mounts(want func(name string) bool) (paths []string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(data) {
		if !bytes.Contains(line, []byte(" net:[")) {
			continue
		}
		if fields := bytes.Fields(line); len(fields) > 4 && want(string(fields[3])) {
			paths = append(paths, string(fields[4]))
		}
	}
	return paths
}

func processes(want func(name string) bool) (paths []string) {
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil
	}
	for _, path := range all {
		if target, err := os.Readlink(path); err == nil && want(target) {
			paths = append(paths, path)
		}
	}
	return paths
}
