// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

var (
	// ErrNotFound says that the object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists says that an object of that name or key exists already.
	ErrExists = errors.New("exists already")
)

// Protocol marks the routes and rules of ours (rtm_protocol).
const Protocol = 87

// Handle is a netlink socket in one namespace. It must not be used by two
// goroutines at once.
type Handle struct {
	lib *netlink.Handle
	raw map[int]*vnl.SocketHandle
}

// Open opens a handle in the namespace at nsPath. The handle holds no
// descriptor of the namespace file; like every socket it keeps the namespace
// alive until Close.
func Open(nsPath string) (*Handle, error) {
	h := &Handle{}
	err := netns.Do(nsPath, func() error {
		lib, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		socket, err := vnl.Subscribe(unix.NETLINK_ROUTE)
		if err != nil {
			lib.Close()
			return err
		}
		h.lib = lib
		h.raw = map[int]*vnl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
		// The kernel then lists what is asked for and nothing else.
		if err := unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
			return errors.Join(err, h.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return h, nil
}

// Close closes the sockets.
func (h *Handle) Close() error {
	h.lib.Close()
	for _, socket := range h.raw {
		socket.Close()
	}
	return nil
}

// Do calls fn with a handle in the namespace at nsPath and closes it.
func Do(nsPath string, fn func(*Handle) error) error {
	h, err := Open(nsPath)
	if err != nil {
		return err
	}
	return errors.Join(fn(h), h.Close())
}

// Cookie returns the cookie (SO_NETNS_COOKIE) of the handle's namespace.
func (h *Handle) Cookie() (uint64, error) {
	fd := h.raw[unix.NETLINK_ROUTE].Socket.GetFd()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("get namespace cookie: %w", err)
	}
	return cookie, nil
}

// execute sends one request and waits for its acknowledgement.
func (h *Handle) execute(kind int, flags int, data ...vnl.NetlinkRequestData) error {
	req := vnl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.Sockets = h.raw
	for _, d := range data {
		req.AddData(d)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// wrap adds the operation to err and makes errno comparable by kind.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	text := fmt.Sprintf(format, args...)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("%s: %w", text, ErrNotFound)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH),
		errors.Is(err, unix.ENXIO), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%s: %w: %w", text, ErrNotFound, err)
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %w: %w", text, ErrExists, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}
}

func fromIPNet(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(fromIP(n.IP), ones)
}

func fromIP(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
