// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// LinkEvent is a present or changed interface, or one that has Gone (then
// Link is its last known state).
type LinkEvent struct {
	Link Link
	Gone bool
}

const (
	watchBuffer  = 4 << 20 // bytes of events that may wait
	watchReceive = 1 << 16 // bytes of one message, the kernel sends at most 32 KiB
)

// WatchLinks calls fn, from one goroutine, for every present link of the
// namespace and then for every change. It returns when the subscription
// stands, so no change after it is missed. When the kernel had to drop events
// (ENOBUFS), the present links are replayed and the vanished ones reported
// Gone. The watch ends with ctx; then fn is called no more after its current
// call. The watch's socket keeps the namespace alive.
func WatchLinks(ctx context.Context, nsPath string, fn func(LinkEvent)) error {
	w := &linkWatch{fn: fn, known: map[int]Link{}}
	err := netns.Do(nsPath, func() (err error) {
		w.socket, err = subscribe(unix.RTMGRP_LINK)
		return err
	})
	if err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	if err := w.requestDump(); err != nil {
		return errors.Join(fmt.Errorf("watch interfaces: %w", err), w.socket.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = w.socket.Close() })
	go func() {
		defer stop()
		w.run(ctx)
		_ = w.socket.Close()
	}()
	return nil
}

// subscribe returns a non-blocking socket of some groups, as an os.File so
// that closing it ends a waiting read.
func subscribe(groups uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Forcing needs CAP_NET_ADMIN in the first user namespace; the default
	// size works, too, with more replays.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

type linkWatch struct {
	socket *os.File
	fn     func(LinkEvent)
	known  map[int]Link
	seen   map[int]bool // of the running replay, nil when none runs
	again  bool         // another replay is due after the running one
}

// requestDump starts a replay. The answers come between the events of the
// same socket, so their order is that of the changes.
func (w *linkWatch) requestDump() error {
	if w.seen != nil {
		w.again = true
		return nil
	}
	req := vnl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(vnl.NewIfInfomsg(unix.AF_UNSPEC))
	conn, err := w.socket.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = conn.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	if err := errors.Join(err, sendErr); err != nil {
		return err
	}
	w.seen = map[int]bool{}
	return nil
}

func (w *linkWatch) run(ctx context.Context) {
	buffer := make([]byte, watchReceive)
	for ctx.Err() == nil {
		n, err := w.socket.Read(buffer)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			err = w.requestDump()
		case err == nil:
			err = w.receive(ctx, buffer[:n])
		}
		if err != nil {
			return // closed
		}
	}
}

func (w *linkWatch) receive(ctx context.Context, buffer []byte) error {
	messages, err := syscall.ParseNetlinkMessage(buffer)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if ctx.Err() != nil {
			return nil
		}
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			w.again = true
		}
		switch m.Header.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			w.link(m)
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if err := w.replayed(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *linkWatch) link(m syscall.NetlinkMessage) {
	// Bridges speak of their ports in messages of their own family.
	if len(m.Data) < unix.SizeofIfInfomsg || (*unix.IfInfomsg)(unsafe.Pointer(&m.Data[0])).Family != unix.AF_UNSPEC {
		return
	}
	link, err := parseLink(m.Data)
	if err != nil {
		return
	}
	if m.Header.Type == unix.RTM_DELLINK {
		w.gone(link)
		return
	}
	w.known[link.Index] = link
	if w.seen != nil {
		w.seen[link.Index] = true
	}
	w.fn(LinkEvent{Link: link})
}

func (w *linkWatch) gone(link Link) {
	delete(w.known, link.Index)
	link.Up, link.Carrier = false, false
	w.fn(LinkEvent{Link: link, Gone: true})
}

// replayed ends a replay: what it did not show has gone unnoticed.
func (w *linkWatch) replayed() error {
	seen := w.seen
	w.seen = nil
	if w.again {
		w.again = false
		return w.requestDump()
	}
	for index, link := range w.known {
		if !seen[index] {
			w.gone(link)
		}
	}
	return nil
}
