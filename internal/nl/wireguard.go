// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// WireGuard describes a WireGuard interface of the kernel.
type WireGuard struct {
	Name string
	MTU  int // 0: the kernel's choice
	// NetNS is the namespace that the interface is made in; empty is the
	// handle's.
	NetNS string
}

// AddWireGuard makes a WireGuard interface, down and without a key, whose
// encrypted packets travel in the handle's namespace. A kernel without WireGuard
// is errors.ErrUnsupported.
func (h *Handle) AddWireGuard(w WireGuard) error {
	request := []vnl.NetlinkRequestData{vnl.NewIfInfomsg(unix.AF_UNSPEC)}
	for _, attr := range linkAttrs(w.Name, nil, w.MTU) {
		request = append(request, attr)
	}
	if w.NetNS != "" {
		file, err := netns.Open(w.NetNS)
		if err != nil {
			return fmt.Errorf("add WireGuard interface %s: %w", w.Name, err)
		}
		defer func() { _ = file.Close() }()
		request = append(request, vnl.NewRtAttr(unix.IFLA_NET_NS_FD, vnl.Uint32Attr(uint32(file.Fd()))))
	}
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("wireguard"))
	request = append(request, info)
	err := h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, request...)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return wrap(err, "add WireGuard interface %s", w.Name)
}
