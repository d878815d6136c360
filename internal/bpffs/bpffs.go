// SPDX-License-Identifier: Apache-2.0

package bpffs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Default is where the BPF file system of a host is.
const Default = "/sys/fs/bpf"

// ErrNotMounted says that a directory is not in a BPF file system.
var ErrNotMounted = errors.New("not in a BPF file system (mount -t bpf bpf " + Default + ")")

// mounting keeps two users of one file system from mounting it twice.
var mounting sync.Mutex

// Place is a directory in a BPF file system.
type Place struct {
	dir, mount string
}

// Open makes the directory. One below Default gets it mounted when it is not.
func Open(dir string) (*Place, error) {
	dir = filepath.Clean(dir)
	p := &Place{dir: dir}
	if dir == Default || strings.HasPrefix(dir, Default+"/") {
		p.mount = Default
		if err := mount(Default); err != nil {
			return nil, err
		}
	}
	made, err := makeAll(dir)
	if err != nil {
		return nil, err
	}
	if ok, err := mounted(dir); err != nil || !ok {
		for i := len(made) - 1; i >= 0; i-- { // what was there before stays
			_ = os.Remove(made[i])
		}
		return nil, errors.Join(err, fmt.Errorf("pin directory %s: %w", dir, ErrNotMounted))
	}
	if p.mount == "" {
		p.mount, err = mountPoint(dir)
	}
	return p, err
}

// Restore makes the directory again when it is gone, and mounts the file system
// where it was when that is.
func (p *Place) Restore() error {
	if err := mount(p.mount); err != nil {
		return err
	}
	_, err := makeAll(p.dir)
	return err
}

// makeAll is os.MkdirAll that tells what it has made, the outermost first.
func makeAll(dir string) (made []string, err error) {
	for missing := dir; ; missing = filepath.Dir(missing) {
		if _, err := os.Lstat(missing); err == nil || missing == filepath.Dir(missing) {
			break
		}
		made = append([]string{missing}, made...)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	return made, nil
}

// mounted says that a path is in a BPF file system.
func mounted(path string) (bool, error) {
	var info unix.Statfs_t
	if err := unix.Statfs(path, &info); err != nil {
		return false, fmt.Errorf("look at file system of %s: %w", path, err)
	}
	return info.Type == unix.BPF_FS_MAGIC, nil
}

// mount mounts a BPF file system, unless there is one.
func mount(point string) error {
	mounting.Lock()
	defer mounting.Unlock()
	if ok, err := mounted(point); err != nil || ok {
		return err
	}
	if err := unix.Mount("bpf", point, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount a BPF file system on %s: %w", point, err)
	}
	return nil
}

// mountPoint is the outermost directory of a path's file system.
func mountPoint(path string) (string, error) {
	device, err := deviceOf(path)
	if err != nil {
		return "", err
	}
	for {
		parent := filepath.Dir(path)
		outside, err := deviceOf(parent)
		if err != nil {
			return "", err
		}
		if outside != device || parent == path {
			return path, nil
		}
		path = parent
	}
}

func deviceOf(path string) (uint64, error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	return info.Dev, nil
}
