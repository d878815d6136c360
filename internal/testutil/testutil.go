// SPDX-License-Identifier: Apache-2.0

package testutil

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// requireEnv lists, separated by commas, the abilities whose absence is a
// failure instead of a reason to skip. CI sets it.
const requireEnv = "WEFT_TEST_REQUIRE"

// Require skips the test, with the reason, unless the machine can do what is
// named: "bpf" (load programs, attach with tcx), "netns" (make network
// namespaces) and the programs "iperf3", "nft" and "clang-19".
func Require(t testing.TB, what ...string) {
	t.Helper()
	required := strings.Split(os.Getenv(requireEnv), ",")
	for _, w := range what {
		err := able(w)
		switch {
		case err == nil:
		case slices.Contains(required, w):
			t.Fatalf("%s is required by %s: %v", w, requireEnv, err)
		default:
			t.Skipf("no %s here: %v", w, err)
		}
	}
}

func able(what string) error {
	switch what {
	case "bpf":
		return ableBPF()
	case "netns":
		return ableNetNS()
	case "iperf3", "nft", "clang-19", "bird":
		_, err := exec.LookPath(what)
		return err
	case "frr":
		_, err := exec.LookPath("/usr/lib/frr/bgpd")
		return err
	}
	return fmt.Errorf("unknown ability %q", what)
}

// ableBPF makes a map; tcx needs Linux 6.6.
func ableBPF() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: %w", release, err)
	}
	if major < 6 || major == 6 && minor < 6 {
		return fmt.Errorf("kernel %s is older than 6.6", release)
	}
	attr := struct{ mapType, keySize, valueSize, maxEntries uint32 }{unix.BPF_MAP_TYPE_ARRAY, 4, 4, 1}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&attr)
	if errno != 0 {
		return fmt.Errorf("create BPF map: %w", errno)
	}
	return unix.Close(int(fd))
}

// ableNetNS makes a namespace that ends as Do returns to the present one.
func ableNetNS() error {
	return netns.Do("/proc/self/ns/net", func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// RandomName returns a name of at most 15 characters that no other test uses.
func RandomName(prefix string) string {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	return prefix + hex.EncodeToString(random)
}

// NetNS makes a namespace with lo up, deletes it at cleanup and returns its
// path.
func NetNS(t testing.TB) string {
	t.Helper()
	name := RandomName("wt-")
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	if err := loopbackUp(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func loopbackUp(path string) error {
	h, err := nl.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	return h.SetUp(lo.Index)
}

// PinDir returns a directory in a BPF file system of the test's own; what it pins
// there has to go with it.
func PinDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpffs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount bpffs: %v", err)
		}
	})
	return filepath.Join(dir, "weft")
}

// Links returns all links of a namespace.
func Links(t testing.TB, path string) []nl.Link {
	t.Helper()
	links, err := Handle(t, path).Links()
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// DeleteNetNS removes the name of a namespace made by NetNS now.
func DeleteNetNS(t testing.TB, path string) {
	t.Helper()
	if err := netns.Delete(strings.TrimPrefix(path, netns.Dir+"/")); err != nil {
		t.Fatal(err)
	}
}

// Handle opens a netlink handle in the namespace, closed at cleanup. It
// keeps the namespace alive meanwhile.
func Handle(t testing.TB, path string) *nl.Handle {
	t.Helper()
	h, err := nl.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// Link returns an interface of a namespace; it must exist.
func Link(t testing.TB, path, name string) nl.Link {
	t.Helper()
	h, err := nl.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	link, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// Eventually polls until ok and fails the test after the limit.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !poll(limit, ok) {
		t.Fatalf("%s: not within %v", what, limit)
	}
}

func poll(limit time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return ok()
		}
	}
}
