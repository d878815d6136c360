// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network interface.
type Link struct {
	Index        int
	Name, Alias  string
	Kind         string // "veth", "device", ...
	MAC          net.HardwareAddr
	MTU          int
	Up           bool   // administratively
	Carrier      bool   // Up and the lower layer works; a veth's: its peer is up
	CarrierDowns uint32 // how often Carrier has been lost, to notice short losses
	PeerIndex    int    // in the peer's namespace, 0 when there is none
	VLANID       int    // of kind vlan, on the interface PeerIndex
	AllMulticast bool   // by SetAllMulticast or an administrator; not by sockets
}

// parseLink reads the body of a link message.
func parseLink(body []byte) (Link, error) {
	l, err := netlink.LinkDeserialize(nil, body)
	if err != nil {
		return Link{}, err
	}
	attrs, err := vnl.ParseRouteAttr(body[unix.SizeofIfInfomsg:])
	if err != nil {
		return Link{}, err
	}
	link := fromLink(l)
	for _, attr := range attrs {
		if attr.Attr.Type == unix.IFLA_CARRIER_DOWN_COUNT && len(attr.Value) == 4 {
			link.CarrierDowns = binary.NativeEndian.Uint32(attr.Value)
		}
	}
	return link, nil
}

func fromLink(l netlink.Link) Link {
	attrs := l.Attrs()
	vlanID := 0
	if v, ok := l.(*netlink.Vlan); ok {
		vlanID = v.VlanId
	}
	return Link{
		VLANID: vlanID,
		Index:  attrs.Index, Name: attrs.Name, Alias: attrs.Alias, Kind: l.Type(),
		MAC: slices.Clone(attrs.HardwareAddr), // of the message's memory, which is used again
		MTU: attrs.MTU, PeerIndex: attrs.ParentIndex,
		Up:      attrs.RawFlags&unix.IFF_UP != 0,
		Carrier: attrs.RawFlags&unix.IFF_LOWER_UP != 0,

		AllMulticast: attrs.RawFlags&unix.IFF_ALLMULTI != 0,
	}
}

// getLinks asks for the links that a request selects.
func (h *Handle) getLinks(flags, index int, attrs ...*vnl.RtAttr) ([]Link, error) {
	req := vnl.NewNetlinkRequest(unix.RTM_GETLINK, flags)
	req.Sockets = h.raw
	msg := vnl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	for _, attr := range attrs {
		req.AddData(attr)
	}
	bodies, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(bodies))
	for _, body := range bodies {
		link, err := parseLink(body)
		if err != nil {
			return nil, err
		}
		links = append(links, link)
	}
	return links, nil
}

// getLink asks for one link.
func (h *Handle) getLink(index int, attrs ...*vnl.RtAttr) (Link, error) {
	links, err := h.getLinks(unix.NLM_F_ACK, index, attrs...)
	if err != nil {
		return Link{}, err
	}
	if len(links) != 1 {
		return Link{}, fmt.Errorf("%d answers", len(links))
	}
	return links[0], nil
}

// LinkByName returns the interface called name.
func (h *Handle) LinkByName(name string) (Link, error) {
	link, err := h.getLink(0, vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name)))
	return link, wrap(err, "get interface %s", name)
}

// LinkByIndex returns the interface with the index.
func (h *Handle) LinkByIndex(index int) (Link, error) {
	link, err := h.getLink(index)
	return link, wrap(err, "get interface %d", index)
}

// Links returns all interfaces.
func (h *Handle) Links() ([]Link, error) {
	links, err := dump(func() ([]Link, error) { return h.getLinks(unix.NLM_F_DUMP, 0) })
	return links, wrap(err, "list interfaces")
}

// setLink changes flags and attributes of an interface in one request.
func (h *Handle) setLink(index int, change, flags uint32, attrs ...*vnl.RtAttr) error {
	msg := vnl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Change, msg.Flags = change, flags
	data := []vnl.NetlinkRequestData{msg}
	for _, attr := range attrs {
		data = append(data, attr)
	}
	return h.execute(unix.RTM_SETLINK, 0, data...)
}

// SetUp brings an interface up.
func (h *Handle) SetUp(index int) error {
	return wrap(h.setLink(index, unix.IFF_UP, unix.IFF_UP), "set interface %d up", index)
}

// SetDown brings an interface down.
func (h *Handle) SetDown(index int) error {
	return wrap(h.setLink(index, unix.IFF_UP, 0), "set interface %d down", index)
}

// SetAllMulticast makes an interface receive all multicast, or no more than
// others want. It stays when the process ends.
func (h *Handle) SetAllMulticast(index int, on bool) error {
	flags := uint32(0)
	if on {
		flags = unix.IFF_ALLMULTI
	}
	return wrap(h.setLink(index, unix.IFF_ALLMULTI, flags), "set all multicast of interface %d", index)
}

// SetAlias sets the alias of an interface.
func (h *Handle) SetAlias(index int, alias string) error {
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias))),
		"set alias of interface %d", index)
}

// SetMAC sets the hardware address of an interface.
func (h *Handle) SetMAC(index int, mac net.HardwareAddr) error {
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_ADDRESS, mac)),
		"set address of interface %d to %s", index, mac)
}

// SetMTU sets the MTU of an interface.
func (h *Handle) SetMTU(index, mtu int) error {
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_MTU, vnl.Uint32Attr(uint32(mtu)))),
		"set MTU of interface %d to %d", index, mtu)
}

// Rename gives an interface another name.
func (h *Handle) Rename(index int, name string) error {
	return wrap(h.setLink(index, 0, 0, vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name))),
		"rename interface %d to %s", index, name)
}

// DeleteLink removes an interface, and with a veth its peer.
func (h *Handle) DeleteLink(index int) error {
	msg := vnl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return wrap(h.execute(unix.RTM_DELLINK, 0, msg), "delete interface %d", index)
}

// DeleteLinks removes interfaces in one step: the kernel waits for readers
// once and not for each (20 ms). Those that are gone are skipped.
func (h *Handle) DeleteLinks(indices ...int) error {
	if len(indices) == 0 {
		return nil
	}
	if len(indices) == 1 {
		return ignoreMissing(h.DeleteLink(indices[0]))
	}
	// A group of their own; 0 is everybody's.
	group := vnl.NewRtAttr(unix.IFLA_GROUP, vnl.Uint32Attr(rand.Uint32()|1<<31))
	for _, index := range indices {
		if err := ignoreMissing(wrap(h.setLink(index, 0, 0, group), "group interface %d", index)); err != nil {
			return err
		}
	}
	msg := vnl.NewIfInfomsg(unix.AF_UNSPEC)
	return ignoreMissing(wrap(h.execute(unix.RTM_DELLINK, 0, msg, group), "delete interfaces %v", indices))
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
