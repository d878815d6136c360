// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// anchor is one thing that keeps a namespace alive and leads to it: a process
// (pidfd >= 0) or a mounted name (pidfd < 0).
type anchor struct {
	path  string
	pidfd int
}

func (a anchor) close() {
	if a.pidfd >= 0 {
		_ = unix.Close(a.pidfd)
	}
}

// valid reports whether the anchor still leads to the namespace. The inode
// suffices: a live anchor keeps it from being reused.
func (a anchor) valid(id netns.ID) bool {
	if a.pidfd >= 0 {
		return alive(a.pidfd) && leadsTo(a.path, id)
	}
	return leadsTo(a.path, id)
}

// leadsTo compares without opening the namespace.
func leadsTo(path string, id netns.ID) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Dev == id.Dev && stat.Ino == id.Ino
}

// findAnchors looks for an anchor of each namespace: names first, because
// processes come and go, and of the processes that with the lowest number. The
// names in dirs and then each process are visited once for all namespaces.
func findAnchors(ids []netns.ID, dirs []string) map[netns.ID]anchor {
	found := make(map[netns.ID]anchor, len(ids))
	missing := slices.Clone(ids)
	try := func(path string, take func(string, netns.ID) (anchor, bool)) {
		for i, id := range missing {
			if !leadsTo(path, id) {
				continue
			}
			if a, ok := take(path, id); ok {
				found[id] = a
				missing = slices.Delete(missing, i, i+1)
			}
			return
		}
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			try(filepath.Join(dir, entry.Name()), takeName)
		}
	}
	for _, pid := range processes(len(missing) > 0) {
		if len(missing) == 0 {
			break
		}
		try(processPath(pid), takeProcess)
	}
	return found
}

// takeName checks the cookie too: the inode of a dead namespace is reused.
func takeName(path string, id netns.ID) (anchor, bool) {
	got, err := netns.Identify(path)
	return anchor{path: path, pidfd: -1}, err == nil && got == id
}

func takeProcess(path string, id netns.ID) (anchor, bool) {
	pid, ok := processOf(path)
	if !ok {
		return anchor{}, false
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return anchor{}, false
	}
	a := anchor{path: path, pidfd: pidfd}
	// Alive after the identification: then the path led to this process.
	if got, err := netns.Identify(path); err != nil || got != id || !alive(pidfd) {
		a.close()
		return anchor{}, false
	}
	return a, true
}

// processOf returns the process number in /proc/<pid>/ns/net.
func processOf(path string) (int, bool) {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return 0, false
	}
	number, ok := strings.CutSuffix(rest, "/ns/net")
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(number)
	return pid, err == nil && pid > 0
}

// processes lists all process numbers in ascending order.
func processes(wanted bool) []int {
	if !wanted {
		return nil
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
