// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir holds the files of the named namespaces, as iproute2's.
const Dir = "/run/netns"

// Path returns the path of the namespace called name.
func Path(name string) string { return filepath.Join(Dir, name) }

// Create makes a namespace and names it. An existing name is fs.ErrExist.
func Create(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if err := prepareDir(); err != nil {
		return "", fmt.Errorf("prepare %s: %w", Dir, err)
	}
	path := Path(name)
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return "", fmt.Errorf("create namespace: %w", err)
	}
	err = errors.Join(file.Close(), onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return unix.Mount(threadPath, path, "none", unix.MS_BIND, "")
	}))
	if err != nil {
		return "", fmt.Errorf("create namespace %s: %w", name, errors.Join(err, os.Remove(path)))
	}
	return path, nil
}

// Delete removes the name. The namespace itself ends when no process, socket
// or descriptor is left in it. A missing name is fs.ErrNotExist.
func Delete(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := Path(name)
	// A file without a mount remains after an interrupted Create: EINVAL.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("delete namespace: %w", err)
	}
	return nil
}

// List returns the sorted names of all named namespaces.
func List() ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') || len(name) > unix.NAME_MAX {
		return fmt.Errorf("namespace name %q: %w", name, fs.ErrInvalid)
	}
	return nil
}

// prepareDir makes Dir a shared mount, so that processes in other mount
// namespaces (containers with a propagated /run/netns) see the names come and
// go, and so that a name can be removed everywhere at once.
func prepareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	// Two processes that both find no mount would stack two of them.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	share := func() error { return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return share()
}
