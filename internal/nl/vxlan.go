// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// VXLAN describes a VXLAN device. Without a VNI it is one in metadata mode: for
// all VNIs and other ends, over IPv4 and IPv6, each frame says by its tunnel
// key which. Such a device takes packets without UDP checksum over IPv6, too.
type VXLAN struct {
	Name, Alias string
	MAC         net.HardwareAddr // nil: the kernel's choice
	MTU         int              // 0: the kernel's choice
	Port        uint16
	VNI         uint32
	Local       netip.Addr // with a VNI
	Remote      netip.Addr // with a VNI
	// NoLinkLocal keeps the kernel from giving the interface an IPv6 link-local
	// address and talking on it by itself.
	NoLinkLocal bool
}

// VXLANLink is a VXLAN device as it is.
type VXLANLink struct {
	Link
	Port uint16
	VNI  uint32 // 0: in metadata mode
}

// VXLANByName returns the device called name. Of an interface of another kind it
// returns what every interface has.
func (h *Handle) VXLANByName(name string) (VXLANLink, error) {
	link, err := h.lib.LinkByName(name)
	if err != nil {
		return VXLANLink{}, wrap(err, "get VXLAN device %s", name)
	}
	found := VXLANLink{Link: fromLink(link)}
	if device, ok := link.(*netlink.Vxlan); ok {
		found.Port = uint16(device.Port)
		if !device.FlowBased {
			found.VNI = uint32(device.VxlanId)
		}
	}
	return found, nil
}

// AddVXLAN makes a VXLAN device. Its packets travel in the handle's namespace,
// also when the interface is moved to another one.
func (h *Handle) AddVXLAN(v VXLAN) (Link, error) {
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("vxlan"))
	data := info.AddRtAttr(vnl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(vnl.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, v.Port))
	data.AddRtAttr(vnl.IFLA_VXLAN_LEARNING, vnl.Uint8Attr(0))
	if v.VNI == 0 {
		data.AddRtAttr(vnl.IFLA_VXLAN_FLOWBASED, vnl.Uint8Attr(1)) // COLLECT_METADATA
		data.AddRtAttr(vnl.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, vnl.Uint8Attr(1))
	} else {
		data.AddRtAttr(vnl.IFLA_VXLAN_ID, vnl.Uint32Attr(v.VNI))
		local, remote := vnl.IFLA_VXLAN_LOCAL6, vnl.IFLA_VXLAN_GROUP6
		if v.Remote.Is4() {
			local, remote = vnl.IFLA_VXLAN_LOCAL, vnl.IFLA_VXLAN_GROUP
		}
		data.AddRtAttr(local, v.Local.AsSlice())
		data.AddRtAttr(remote, v.Remote.AsSlice())
	}
	request := []vnl.NetlinkRequestData{vnl.NewIfInfomsg(unix.AF_UNSPEC)}
	for _, attr := range linkAttrs(v.Name, v.MAC, v.MTU) {
		request = append(request, attr)
	}
	request = append(request, info)
	if err := h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, request...); err != nil {
		return Link{}, wrap(err, "add VXLAN device %s", v.Name)
	}
	link, err := h.LinkByName(v.Name)
	if err == nil && v.Alias != "" {
		link.Alias = v.Alias
		err = h.SetAlias(link.Index, v.Alias)
	}
	if err == nil && v.NoLinkLocal {
		err = h.setLink(link.Index, 0, 0, noLinkLocal())
	}
	if err != nil {
		return Link{}, errors.Join(err, h.DeleteLink(link.Index))
	}
	return link, nil
}

// MoveLink moves an interface to another namespace. It loses its addresses and
// goes down.
func (h *Handle) MoveLink(index int, nsPath string) error {
	file, err := netns.Open(nsPath)
	if err != nil {
		return fmt.Errorf("move interface %d: %w", index, err)
	}
	defer func() { _ = file.Close() }()
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_NET_NS_FD, vnl.Uint32Attr(uint32(file.Fd())))),
		"move interface %d to namespace %s", index, nsPath)
}

// RouteMTU returns how long packets to the address may be: what path-MTU
// discovery has found, else the route's MTU, else the interface's.
func (h *Handle) RouteMTU(addr netip.Addr) (int, error) {
	routes, err := h.lib.RouteGet(addr.Unmap().AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return 0, wrap(err, "look up %s", addr)
	}
	link, err := h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 0, err
	}
	if mtu := routes[0].MTU; mtu != 0 && mtu < link.MTU {
		return mtu, nil
	}
	return link.MTU, nil
}
