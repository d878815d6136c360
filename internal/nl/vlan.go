// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddVLAN makes a VLAN device (802.1Q) on a base interface of the same namespace,
// which is down. A taken name, or id of that interface, is ErrExists, a kernel
// without 8021q errors.ErrUnsupported.
func (h *Handle) AddVLAN(name string, base, id int) (Link, error) {
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("vlan"))
	info.AddRtAttr(vnl.IFLA_INFO_DATA, nil).AddRtAttr(vnl.IFLA_VLAN_ID, vnl.Uint16Attr(uint16(id)))
	err := h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, vnl.NewIfInfomsg(unix.AF_UNSPEC),
		vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name)),
		vnl.NewRtAttr(unix.IFLA_LINK, vnl.Uint32Attr(uint32(base))),
		info)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return Link{}, wrap(err, "add VLAN device %s on interface %d", name, base)
	}
	return h.LinkByName(name)
}
