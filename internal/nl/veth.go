// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"

	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-project/weft/internal/netns"
)

// Veth describes a veth pair. The end called Name is made in the handle's
// namespace, the peer in PeerNetNS (empty: the handle's, too). A nil MAC is
// chosen by the kernel, a zero MTU is the kernel's default.
type Veth struct {
	Name, Alias string
	MAC         net.HardwareAddr
	MTU         int
	PeerName    string
	PeerMAC     net.HardwareAddr
	PeerAlias   string
	PeerNetNS   string
	PeerUp      bool
	// PeerHandle, if not nil, is a handle in PeerNetNS; it saves opening one.
	PeerHandle *Handle
	// NoLinkLocal keeps the kernel from giving this end an IPv6 link-local
	// address and talking on the link by itself.
	NoLinkLocal bool
}

// MinMTU6 is the least MTU of IPv6: an interface with a smaller one has none.
const MinMTU6 = 1280

// vethTries bounds the search for a free index.
const vethTries = 16

// nextIndex is the last index that AddVeth chose. It starts far above those that
// the kernel gives by itself, and somewhere, because other processes choose, too.
var nextIndex atomic.Int32

func chooseIndex() int {
	nextIndex.CompareAndSwap(0, 1<<24+rand.Int32N(1<<24))
	return int(nextIndex.Add(1))
}

// AddVeth makes a veth pair, the peer directly in its namespace. A taken name
// on either side is ErrExists; a missing peer namespace is netns.ErrNotFound.
//
// The two ends never have the same index: the kernel takes such an interface
// for one without a peer and delays its carrier events by up to a second
// (linkwatch_urgent_event). Two namespaces that both count from 1 give equal ones
// often, so this end chooses its own.
func (h *Handle) AddVeth(v Veth) (link, peer Link, err error) {
	var peerNS int
	if v.PeerNetNS != "" {
		file, err := netns.Open(v.PeerNetNS)
		if err != nil {
			return Link{}, Link{}, fmt.Errorf("add veth %s: %w", v.Name, err)
		}
		defer func() { _ = file.Close() }()
		peerNS = int(file.Fd())
	}
	index := 0
	for range vethTries {
		index = chooseIndex()
		link, err = h.newVeth(v, peerNS, index)
		switch {
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST) && h.indexTaken(index):
			continue
		case err != nil:
			return Link{}, Link{}, wrap(err, "add veth %s with peer %s", v.Name, v.PeerName)
		}
		peer, err = h.peerOf(v, link)
		if err != nil {
			return Link{}, Link{}, errors.Join(err, h.DeleteLink(link.Index))
		}
		return link, peer, nil
	}
	return Link{}, Link{}, wrap(err, "add veth %s with peer %s and index %d", v.Name, v.PeerName, index)
}

func (h *Handle) indexTaken(index int) bool {
	_, err := h.LinkByIndex(index)
	return err == nil
}

// newVeth makes the pair, this end with the index.
func (h *Handle) newVeth(v Veth, peerNS, index int) (Link, error) {
	msg := vnl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	attrs := linkAttrs(v.Name, v.MAC, v.MTU)
	info := vnl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(vnl.IFLA_INFO_KIND, vnl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(vnl.IFLA_INFO_DATA, nil).AddRtAttr(vnl.VETH_INFO_PEER, nil)
	vnl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	for _, attr := range linkAttrs(v.PeerName, v.PeerMAC, v.MTU) {
		peer.AddChild(attr)
	}
	if v.PeerNetNS != "" {
		peer.AddRtAttr(unix.IFLA_NET_NS_FD, vnl.Uint32Attr(uint32(peerNS)))
	}
	data := []vnl.NetlinkRequestData{msg}
	for _, attr := range attrs {
		data = append(data, attr)
	}
	data = append(data, info)
	if err := h.execute(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, data...); err != nil {
		return Link{}, err
	}
	link, err := h.LinkByName(v.Name)
	if err != nil {
		return Link{}, err
	}
	// The kernel takes these only for an interface that exists.
	var late []*vnl.RtAttr
	if v.Alias != "" {
		late = append(late, vnl.NewRtAttr(unix.IFLA_IFALIAS, []byte(v.Alias)))
	}
	if v.NoLinkLocal && (v.MTU == 0 || v.MTU >= MinMTU6) {
		late = append(late, noLinkLocal())
	}
	if len(late) == 0 {
		return link, nil
	}
	if err := h.setLink(link.Index, 0, 0, late...); err != nil {
		return Link{}, errors.Join(err, h.DeleteLink(link.Index))
	}
	link.Alias = v.Alias
	return link, nil
}

// peerOf returns the other end of a new pair, brought up if wanted. (The
// kernel refuses to create it up: a veth opens only when it has its peer.)
func (h *Handle) peerOf(v Veth, link Link) (peer Link, err error) {
	other := h
	switch {
	case v.PeerHandle != nil:
		other = v.PeerHandle
	case v.PeerNetNS != "":
		if other, err = Open(v.PeerNetNS); err != nil {
			return Link{}, err
		}
		defer func() { err = errors.Join(err, other.Close()) }()
	}
	if v.PeerAlias != "" {
		if err := other.SetAlias(link.PeerIndex, v.PeerAlias); err != nil {
			return Link{}, err
		}
	}
	if v.PeerUp {
		if err := other.SetUp(link.PeerIndex); err != nil {
			return Link{}, err
		}
	}
	return other.LinkByIndex(link.PeerIndex)
}

// noLinkLocal keeps the kernel from talking IPv6 on an interface by itself.
func noLinkLocal() *vnl.RtAttr {
	spec := vnl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, vnl.Uint8Attr(vnl.IN6_ADDR_GEN_MODE_NONE))
	return spec
}

func linkAttrs(name string, mac net.HardwareAddr, mtu int) []*vnl.RtAttr {
	attrs := []*vnl.RtAttr{vnl.NewRtAttr(unix.IFLA_IFNAME, vnl.ZeroTerminated(name))}
	if mac != nil {
		attrs = append(attrs, vnl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	if mtu != 0 {
		attrs = append(attrs, vnl.NewRtAttr(unix.IFLA_MTU, vnl.Uint32Attr(uint32(mtu))))
	}
	return attrs
}
