// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrNotFound says that a path names no network namespace: the file is
// missing, its process has ended, or it is some other kind of file.
var ErrNotFound = errors.New("network namespace not found")

const (
	threadPath = "/proc/thread-self/ns/net"
	nsfsMagic  = 0x6e736673
)

// Open opens the namespace file at path; the caller closes it soon.
func Open(path string) (*os.File, error) {
	if path == "" {
		path = threadPath
	}
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTDIR),
		errors.Is(err, unix.ENXIO): // a socket, for one by /proc/<pid>/fd
		return nil, fmt.Errorf("open namespace %s: %w: %w", path, ErrNotFound, err)
	case err != nil:
		return nil, fmt.Errorf("open namespace: %w", err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("stat namespace %s: %w", path, err), file.Close())
	}
	// A name whose mount is gone is an empty plain file.
	if stat.Type != nsfsMagic {
		return nil, errors.Join(fmt.Errorf("open namespace %s: %w", path, ErrNotFound), file.Close())
	}
	return file, nil
}

// Do runs fn on a locked OS thread inside the namespace at path and returns
// its error. Only fn itself runs there: a goroutine that it starts does not.
// Sockets that fn opens stay in the namespace. A panic or a runtime.Goexit of
// fn passes to the caller.
func Do(path string, fn func() error) error {
	if path == "" {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return fn()
	}
	file, err := Open(path)
	if err != nil {
		return err
	}
	return onThread(func() error {
		defer func() { _ = file.Close() }()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", path, err)
		}
		// fn may run long (a server's accept loop), so nothing keeps the
		// descriptor meanwhile.
		_ = file.Close()
		return fn()
	})
}

// onThread runs fn, which may change the thread's network namespace, on an OS
// thread of its own. The thread goes back to its namespace afterwards; if that
// is impossible, it ends with its goroutine, so that no other goroutine can
// ever run on it.
func onThread(fn func() error) error {
	var (
		err      error
		returned bool
		panicked any
		done     = make(chan struct{})
	)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// /proc/<pid>/ns/net shows the main thread's namespace, and others
			// (and we) find our namespace there: hold this thread, so that
			// another one is taken.
			defer runtime.UnlockOSThread()
			defer func() {
				if !returned {
					panicked = recover()
				}
			}()
			err = onThread(fn)
			returned = true
			return
		}
		home, openErr := os.Open(threadPath)
		if openErr != nil {
			// Nothing has changed yet, the thread is clean.
			runtime.UnlockOSThread()
			err, returned = fmt.Errorf("open own namespace: %w", openErr), true
			return
		}
		defer func() {
			if !returned {
				panicked = recover()
			}
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = home.Close()
		}()
		err = fn()
		returned = true
	}()
	<-done
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		runtime.Goexit()
	}
	return err
}
