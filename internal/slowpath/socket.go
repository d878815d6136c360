// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// Socket sends frames in a network namespace, which it keeps alive. It receives
// nothing.
type Socket struct{ file *os.File }

// OpenSocket opens a packet socket in the namespace at path.
func OpenSocket(path string) (*Socket, error) {
	fd := -1
	err := netns.Do(path, func() (err error) {
		// Protocol 0: no packet is delivered to it.
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return &Socket{os.NewFile(uintptr(fd), "packet socket")}, nil
}

// Send sends a frame through the interface's egress hooks and queue. It does not
// wait for room: unix.EAGAIN and unix.ENOBUFS say that there is none, unix.ENXIO
// and unix.ENETDOWN that the interface is gone or down. After any of them the
// socket is as good as before. After Close it is os.ErrClosed.
func (s *Socket) Send(ifindex int, frame []byte) error {
	conn, err := s.file.SyscallConn()
	var sendErr error
	if err == nil {
		// One try: the poller would wait for room.
		err = conn.Write(func(fd uintptr) bool {
			sendErr = unix.Sendto(int(fd), frame, 0, &unix.SockaddrLinklayer{Ifindex: ifindex})
			return true
		})
	}
	if err != nil {
		sendErr = os.ErrClosed // what else a file without a deadline can have
	}
	if sendErr != nil {
		return fmt.Errorf("send to interface %d: %w", ifindex, sendErr)
	}
	return nil
}

// Close closes the socket; a Send under way ends before.
func (s *Socket) Close() error { return s.file.Close() }
