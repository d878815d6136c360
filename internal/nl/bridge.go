// SPDX-License-Identifier: Apache-2.0

package nl

import (
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddBridge makes a bridge, which is down.
func (h *Handle) AddBridge(name string) (Link, error) {
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("bridge"))
	err := h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, vnl.NewIfInfomsg(unix.AF_UNSPEC),
		vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name)), info)
	if err != nil {
		return Link{}, wrap(err, "add bridge %s", name)
	}
	return h.LinkByName(name)
}

// SetMaster makes an interface a port of a bridge.
func (h *Handle) SetMaster(index, master int) error {
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_MASTER, vnl.Uint32Attr(uint32(master)))),
		"make interface %d a port of %d", index, master)
}
