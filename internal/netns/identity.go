// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ID tells network namespaces apart. Dev and Ino are those of the namespace
// file; the kernel reuses inode numbers of dead namespaces. Cookie
// (SO_NETNS_COOKIE) is never reused until the next boot.
type ID struct{ Dev, Ino, Cookie uint64 }

// Identify returns the identity of the namespace at path.
func Identify(path string) (ID, error) {
	file, err := Open(path)
	if err != nil {
		return ID{}, err
	}
	defer func() { _ = file.Close() }()

	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return ID{}, fmt.Errorf("stat namespace %s: %w", path, err)
	}
	id := ID{Dev: stat.Dev, Ino: stat.Ino}
	err = onThread(func() error {
		// The same descriptor, so that inode and cookie belong together even
		// when the path is being replaced.
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", path, err)
		}
		id.Cookie, err = cookie()
		return err
	})
	if err != nil {
		return ID{}, err
	}
	return id, nil
}

// cookie returns the cookie of the calling thread's namespace.
func cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	value, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("get namespace cookie: %w", err)
	}
	return value, nil
}
