// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// arrive parks the descriptors of control messages, or hands them to those who
// wait.
func (c *conn) arrive(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return // not from a kernel that works; the Request will miss its descriptor
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			c.arriveOne(fd)
		}
	}
}

func (c *conn) arriveOne(fd int) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		_ = unix.Close(fd)
		return
	}
	key := inode{dev: stat.Dev, ino: stat.Ino}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = unix.Close(fd)
		return
	}
	if waiting := c.waiters[key]; len(waiting) > 0 {
		c.waiters[key] = waiting[1:]
		if len(waiting) == 1 {
			delete(c.waiters, key)
		}
		waiting[0] <- newFile(fd)
		return
	}
	// Concurrent requests for the same namespace share one descriptor: they are
	// interchangeable.
	if p := c.parked[key]; p != nil {
		_ = unix.Close(fd)
		p.arrivals++
		p.expiry.Reset(lingerTime)
		return
	}
	p := &parkedFile{fd: fd, arrivals: 1}
	p.expiry = time.AfterFunc(lingerTime, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.parked[key] == p {
			c.drop(key)
		}
	})
	c.parked[key] = p
}

// drop closes a parked descriptor. Caller holds mu.
func (c *conn) drop(key inode) {
	p := c.parked[key]
	p.expiry.Stop()
	_ = unix.Close(p.fd)
	delete(c.parked, key)
}

// claim returns the descriptor of key for one Request: at once when it is
// parked, else by the channel, which is closed without one when the connection
// closes.
func (c *conn) claim(key inode) (*os.File, chan *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.parked[key]; p != nil {
		p.arrivals--
		if p.arrivals <= 0 {
			p.expiry.Stop()
			delete(c.parked, key)
			return newFile(p.fd), nil
		}
		dup, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			return newFile(dup), nil
		}
	}
	ch := make(chan *os.File, 1)
	if c.closed {
		close(ch)
	} else {
		c.waiters[key] = append(c.waiters[key], ch)
	}
	return nil, ch
}

// receive waits for the descriptor of key until ctx ends.
func (c *conn) receive(ctx context.Context, key inode) (*os.File, error) {
	file, ch := c.claim(key)
	if file != nil {
		return file, nil
	}
	select {
	case file := <-ch:
		if file == nil {
			return nil, errConnClosed
		}
		return file, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	c.waiters[key] = slices.DeleteFunc(c.waiters[key], func(w chan *os.File) bool { return w == ch })
	if len(c.waiters[key]) == 0 {
		delete(c.waiters, key)
	}
	c.mu.Unlock()
	select {
	case file := <-ch: // it came while we gave up
		if file != nil {
			return file, nil
		}
	default:
	}
	return nil, ctx.Err()
}

// RecvFile implements grpcfd.FDRecver for elements of the SDK.
func (c *conn) RecvFile(dev, ino uint64) <-chan *os.File {
	file, ch := c.claim(inode{dev, ino})
	if file != nil {
		ch = make(chan *os.File, 1)
		ch <- file
		close(ch)
	}
	return ch
}

// RecvFileByURL is RecvFile for inode://dev/ino.
func (c *conn) RecvFileByURL(text string) (<-chan *os.File, error) {
	key, err := parseInode(text)
	if err != nil {
		return nil, err
	}
	return c.RecvFile(key.dev, key.ino), nil
}

// RecvFD is RecvFile for a bare descriptor, which the receiver owns.
func (c *conn) RecvFD(dev, ino uint64) <-chan uintptr {
	out := make(chan uintptr, 1)
	go func(in <-chan *os.File) {
		defer close(out)
		if file := <-in; file != nil {
			if dup, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err == nil {
				out <- uintptr(dup)
			}
			_ = file.Close()
		}
	}(c.RecvFile(dev, ino))
	return out
}

// RecvFDByURL is RecvFD for inode://dev/ino.
func (c *conn) RecvFDByURL(text string) (<-chan uintptr, error) {
	key, err := parseInode(text)
	if err != nil {
		return nil, err
	}
	return c.RecvFD(key.dev, key.ino), nil
}

// newFile names the file by the path that other elements can open.
func newFile(fd int) *os.File {
	return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
}

func parseInode(text string) (inode, error) {
	u, err := url.Parse(text)
	if err != nil {
		return inode{}, fmt.Errorf("%q is not a URL: %w", text, errors.Unwrap(err))
	}
	if u.Scheme != "inode" {
		return inode{}, fmt.Errorf("%q: scheme must be inode", text)
	}
	dev, devErr := strconv.ParseUint(u.Host, 10, 64)
	ino, inoErr := strconv.ParseUint(strings.TrimPrefix(u.Path, "/"), 10, 64)
	if devErr != nil || inoErr != nil {
		return inode{}, fmt.Errorf("%q: want inode://device/inode in decimal", text)
	}
	return inode{dev, ino}, nil
}

// url is written like the SDK's: inode://dev/ino.
func (i inode) url() string { return fmt.Sprintf("inode://%d/%d", i.dev, i.ino) }
