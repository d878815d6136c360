// SPDX-License-Identifier: Apache-2.0

package bpffs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/testutil"
)

func TestRestore(t *testing.T) {
	testutil.Require(t, "bpf")
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.Mount("bpf", root, "bpf", 0, ""))
	mounts := 1
	t.Cleanup(func() {
		for range mounts {
			must(unix.Unmount(root, unix.MNT_DETACH))
		}
	})
	dir := filepath.Join(root, "weft", "forwarder")
	p, err := Open(dir)
	must(err)
	if p.mount != root {
		t.Errorf("mount point %s, want %s", p.mount, root)
	}
	must(p.Restore()) // nothing to do
	must(os.RemoveAll(filepath.Join(root, "weft")))
	must(p.Restore())
	must(unix.Unmount(root, unix.MNT_DETACH))
	mounts--
	must(p.Restore())
	mounts++
	if ok, err := mounted(dir); err != nil || !ok {
		t.Errorf("mounted again: %v, %v", ok, err)
	}
}

// Where there is no such file system, nothing is left.
func TestOpenElsewhere(t *testing.T) {
	parent := t.TempDir()
	if _, err := Open(filepath.Join(parent, "a", "b")); !errors.Is(err, ErrNotMounted) {
		t.Error(err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
