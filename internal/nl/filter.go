// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddFilter makes an interface receive frames to an address that is not its own.
// A device without such filters is made promiscuous by the kernel while there is
// one. A second one is ErrExists.
func (h *Handle) AddFilter(index int, mac net.HardwareAddr) error {
	return wrap(h.lib.NeighAppend(filter(index, mac)), "receive frames to %s on interface %d", mac, index)
}

// DeleteFilter undoes AddFilter.
func (h *Handle) DeleteFilter(index int, mac net.HardwareAddr) error {
	return wrap(h.lib.NeighDel(filter(index, mac)), "no longer receive frames to %s on interface %d", mac, index)
}

func filter(index int, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: unix.NUD_NOARP | unix.NUD_PERMANENT,
		Flags: unix.NTF_SELF, HardwareAddr: mac,
	}
}
