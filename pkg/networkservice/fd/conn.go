// SPDX-License-Identifier: Apache-2.0

package fd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/edwarnicke/grpcfd"
	"golang.org/x/sys/unix"
)

const (
	// maxPerWrite is how many descriptors one write carries; the SDK's receiver
	// has room for 64.
	maxPerWrite = 64
	// lingerTime is how long an arrived descriptor waits for the Request that
	// belongs to it. Requests for the same connection queue, so it is as long as
	// a request may take.
	lingerTime = 30 * time.Second
)

var errConnClosed = errors.New("connection is closed")

// inode names a file across processes.
type inode struct{ dev, ino uint64 }

// conn is a unix socket that carries descriptors beside its bytes.
type conn struct {
	*net.UnixConn
	oob []byte // of the only reader

	writeMu sync.Mutex // serialises writes, and orders sending before closing
	sending []outgoing

	mu      sync.Mutex
	closed  bool
	parked  map[inode]*parkedFile
	waiters map[inode][]chan *os.File
}

type outgoing struct {
	fd   int // owned
	done chan error
}

// parkedFile is a descriptor that arrived and is not asked for yet.
type parkedFile struct {
	fd       int
	arrivals int // how many receivers may still come for it
	expiry   *time.Timer
}

var _ grpcfd.FDTransceiver = (*conn)(nil)

func newConn(raw *net.UnixConn) *conn {
	return &conn{
		UnixConn: raw,
		oob:      make([]byte, unix.CmsgSpace(4*maxPerWrite)),
		parked:   make(map[inode]*parkedFile),
		waiters:  make(map[inode][]chan *os.File),
	}
}

// RemoteAddr returns the connection itself, by which chain elements find it.
func (c *conn) RemoteAddr() net.Addr { return c }

// Network and String are those of the peer's address.
func (c *conn) Network() string { return c.UnixConn.RemoteAddr().Network() }
func (c *conn) String() string  { return c.UnixConn.RemoteAddr().String() }

// Write sends the queued descriptors with the first bytes of b.
func (c *conn) Write(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	written := 0
	for len(c.sending) > 0 && written < len(b) {
		batch := c.sending[:min(maxPerWrite, len(c.sending))]
		// Leave a byte for each further batch: descriptors need bytes to ride on.
		end := len(b)
		if len(batch) < len(c.sending) {
			end = written + 1
		}
		fds := make([]int, len(batch))
		for i, o := range batch {
			fds[i] = o.fd
		}
		n, _, err := c.WriteMsgUnix(b[written:end], unix.UnixRights(fds...), nil)
		c.sending = c.sending[len(batch):]
		for _, o := range batch {
			o.finish(err)
		}
		written += max(n, 0)
		if err != nil {
			return written, err
		}
	}
	if written == len(b) && written > 0 {
		return written, nil
	}
	n, err := c.UnixConn.Write(b[written:])
	return written + n, err
}

func (o outgoing) finish(err error) {
	_ = unix.Close(o.fd)
	if err != nil {
		o.done <- err
	}
	close(o.done)
}

// Read parks the descriptors that arrive beside the bytes.
func (c *conn) Read(b []byte) (int, error) {
	n, oobn, _, _, err := c.ReadMsgUnix(b, c.oob)
	if oobn > 0 {
		c.arrive(c.oob[:oobn])
	}
	return max(n, 0), err // io.Reader forbids the -1 that comes with errors
}

// Close closes everything that was queued or parked.
func (c *conn) Close() error {
	err := c.UnixConn.Close()
	c.writeMu.Lock()
	queued := c.sending
	c.sending = nil
	c.mu.Lock()
	c.closed = true
	for key := range c.parked {
		c.drop(key)
	}
	for key, waiting := range c.waiters {
		delete(c.waiters, key)
		for _, ch := range waiting {
			close(ch)
		}
	}
	c.mu.Unlock()
	c.writeMu.Unlock()
	for _, o := range queued {
		o.finish(errConnClosed)
	}
	return err
}

// enqueue takes over fd and sends it with the next write.
func (c *conn) enqueue(fd int) <-chan error {
	o := outgoing{fd: fd, done: make(chan error, 1)}
	c.writeMu.Lock()
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if !closed {
		c.sending = append(c.sending, o)
	}
	c.writeMu.Unlock()
	if closed {
		o.finish(errConnClosed)
	}
	return o.done
}

func failed(err error) <-chan error {
	done := make(chan error, 1)
	done <- err
	close(done)
	return done
}

// SendFD sends a copy of fd.
func (c *conn) SendFD(fd uintptr) <-chan error {
	dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return failed(fmt.Errorf("copy descriptor %d: %w", fd, err))
	}
	return c.enqueue(dup)
}

// SendFile sends a copy of the descriptor of file.
func (c *conn) SendFile(file grpcfd.SyscallConn) <-chan error {
	raw, err := file.SyscallConn()
	if err != nil {
		return failed(err)
	}
	var done <-chan error
	if err := raw.Control(func(fd uintptr) { done = c.SendFD(fd) }); err != nil {
		return failed(err)
	}
	return done
}

// SendFilename sends the file at path, which need not be readable (a socket).
func (c *conn) SendFilename(path string) <-chan error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(&os.PathError{Op: "open", Path: path, Err: err})
	}
	return c.enqueue(fd)
}
