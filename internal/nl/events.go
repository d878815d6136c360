// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// EventKind is what an Event is about.
type EventKind uint8

// Kinds of events.
const (
	LinkChanged    EventKind = iota + 1 // Index
	AddressChanged                      // Index
	RouteChanged                        // Route and Gone
	EventsLost                          // the kernel had to drop some, of any kind
)

// Event says that something in a namespace has changed. What it is like now is to
// be asked for.
type Event struct {
	Kind  EventKind
	Index int
	// Route has Prefix, Table and Metric only, and is of Protocol.
	Route Route
	Gone  bool
}

// WatchEvents calls fn, from one goroutine, for every change of links, addresses
// and routes of ours after it has returned. The kernel does not tell of IPv4
// routes that go with their interface. The watch ends with ctx; then fn is called
// no more after its current call.
func WatchEvents(ctx context.Context, nsPath string, fn func(Event)) error {
	var socket *os.File
	err := netns.Do(nsPath, func() (err error) {
		socket, err = subscribe(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
			unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("watch links, addresses and routes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	go func() {
		defer stop()
		readEvents(ctx, socket, fn)
		_ = socket.Close()
	}()
	return nil
}

func readEvents(ctx context.Context, socket *os.File, fn func(Event)) {
	buffer := make([]byte, watchReceive)
	for ctx.Err() == nil {
		n, err := socket.Read(buffer)
		if errors.Is(err, unix.ENOBUFS) {
			fn(Event{Kind: EventsLost})
			continue
		}
		if err != nil {
			return // closed
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			fn(Event{Kind: EventsLost})
			continue
		}
		for _, m := range messages {
			if event, ok := parseEvent(m); ok && ctx.Err() == nil {
				fn(event)
			}
		}
	}
}

func parseEvent(m syscall.NetlinkMessage) (Event, bool) {
	const indexAt = 4 // in struct ifinfomsg and ifaddrmsg
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if len(m.Data) < indexAt+4 {
			return Event{}, false
		}
		e := Event{
			Kind: AddressChanged, Index: int(binary.NativeEndian.Uint32(m.Data[indexAt:])),
			Gone: m.Header.Type == unix.RTM_DELLINK || m.Header.Type == unix.RTM_DELADDR,
		}
		if m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_DELLINK {
			e.Kind = LinkChanged
		}
		return e, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		route, ok := parseRouteKey(m.Data)
		return Event{Kind: RouteChanged, Route: route, Gone: m.Header.Type == unix.RTM_DELROUTE}, ok
	}
	return Event{}, false
}

// parseRouteKey reads what tells a route of ours from others.
func parseRouteKey(data []byte) (r Route, ok bool) {
	if len(data) < unix.SizeofRtMsg {
		return Route{}, false
	}
	msg := vnl.DeserializeRtMsg(data)
	if msg.Protocol != Protocol || msg.Family != unix.AF_INET && msg.Family != unix.AF_INET6 {
		return Route{}, false
	}
	attrs, err := vnl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil {
		return Route{}, false
	}
	r.Table, r.Blackhole = int(msg.Table), msg.Type == unix.RTN_BLACKHOLE
	dst := zeroOf(int(msg.Family))
	for _, attr := range attrs {
		switch {
		case attr.Attr.Type == unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(attr.Value); ok {
				dst = a
			}
		case len(attr.Value) < 4:
		case attr.Attr.Type == unix.RTA_TABLE:
			r.Table = int(binary.NativeEndian.Uint32(attr.Value))
		case attr.Attr.Type == unix.RTA_PRIORITY:
			r.Metric = int(binary.NativeEndian.Uint32(attr.Value))
		}
	}
	r.Prefix = netip.PrefixFrom(dst, int(msg.Dst_len))
	return r, r.Prefix.IsValid()
}
