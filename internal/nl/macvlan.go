// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// macvlanBridge is MACVLAN_MODE_BRIDGE of linux/if_link.h.
const macvlanBridge = 4

// AddMacvlan makes a macvlan interface in bridge mode on a base interface of the
// handle's namespace, directly in the namespace at nsPath. A taken name is
// ErrExists, a kernel without macvlan errors.ErrUnsupported.
func (h *Handle) AddMacvlan(name string, base int, nsPath string) error {
	file, err := netns.Open(nsPath)
	if err != nil {
		return fmt.Errorf("add macvlan %s: %w", name, err)
	}
	defer func() { _ = file.Close() }()
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("macvlan"))
	info.AddRtAttr(vnl.IFLA_INFO_DATA, nil).AddRtAttr(vnl.IFLA_MACVLAN_MODE, vnl.Uint32Attr(macvlanBridge))
	err = h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		vnl.NewIfInfomsg(unix.AF_UNSPEC),
		vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name)),
		vnl.NewRtAttr(unix.IFLA_LINK, vnl.Uint32Attr(uint32(base))),
		vnl.NewRtAttr(unix.IFLA_NET_NS_FD, vnl.Uint32Attr(uint32(file.Fd()))),
		info)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return wrap(err, "add macvlan %s on interface %d", name, base)
}
