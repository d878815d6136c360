// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries bounds repeats of a listing that changes interrupt.
const dumpTries = 20

// listed counts what the kernel has answered to listings.
var listed atomic.Int64

// Listed returns how many objects the kernel has named to this process in
// listings so far. What needs few of them costs the same however many there are
// in a namespace.
func Listed() int64 { return listed.Load() }

// dump repeats a listing until no change interrupts it.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var (
		found []T
		err   error
	)
	for range dumpTries {
		found, err = list()
		listed.Add(int64(len(found)))
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return nil, err
}

// list asks for all objects that header and attributes select.
func (h *Handle) list(request int, answer uint16, header vnl.NetlinkRequestData, attrs ...*vnl.RtAttr) ([][]byte, error) {
	return dump(func() ([][]byte, error) {
		req := vnl.NewNetlinkRequest(request, unix.NLM_F_DUMP)
		req.Sockets = h.raw
		req.AddData(header)
		for _, attr := range attrs {
			req.AddData(attr)
		}
		return req.Execute(unix.NETLINK_ROUTE, answer)
	})
}

// listNeighbours asks for the neighbours of an interface. The header of the
// kernel's has a field for its index, but only an attribute selects.
func (h *Handle) listNeighbours(index, family int) ([]netlink.Neigh, error) {
	messages, err := h.list(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, &netlink.Ndmsg{Family: uint8(family)},
		vnl.NewRtAttr(unix.NDA_IFINDEX, vnl.Uint32Attr(uint32(index))))
	if err != nil {
		return nil, err
	}
	found := make([]netlink.Neigh, 0, len(messages))
	for _, message := range messages {
		n, err := netlink.NeighDeserialize(message)
		if err != nil {
			return nil, err
		}
		if n.LinkIndex == index && n.Family == family {
			found = append(found, *n)
		}
	}
	return found, nil
}
