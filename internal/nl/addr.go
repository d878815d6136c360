// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	vnl "github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Addresses returns the addresses of an interface with their prefix lengths.
func (h *Handle) Addresses(index int) ([]netip.Prefix, error) {
	header := vnl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = uint32(index)
	messages, err := h.list(unix.RTM_GETADDR, unix.RTM_NEWADDR, header)
	if err != nil {
		// The kernel refuses to list those of an interface that is not there.
		return nil, ignoreMissing(wrap(err, "list addresses of interface %d", index))
	}
	prefixes := make([]netip.Prefix, 0, len(messages))
	for _, message := range messages {
		if addr, bits, of := parseOwner(message); addr.IsValid() && of == index {
			prefixes = append(prefixes, netip.PrefixFrom(addr, bits))
		}
	}
	return prefixes, nil
}

// AddressOwners returns for every address of the namespace the indices of the
// interfaces that have it.
func (h *Handle) AddressOwners() (map[netip.Addr][]int, error) {
	messages, err := h.list(unix.RTM_GETADDR, unix.RTM_NEWADDR, vnl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, wrap(err, "list addresses")
	}
	owners := make(map[netip.Addr][]int, len(messages))
	for _, message := range messages {
		if addr, _, index := parseOwner(message); addr.IsValid() {
			owners[addr] = append(owners[addr], index)
		}
	}
	return owners, nil
}

// parseOwner reads nothing of an RTM_NEWADDR but the address, its prefix length
// and the interface, because there may be thousands. The address is IFA_LOCAL where there is one:
// IFA_ADDRESS may be the peer's.
func parseOwner(message []byte) (addr netip.Addr, bits, index int) {
	if len(message) < unix.SizeofIfAddrmsg {
		return netip.Addr{}, 0, 0
	}
	bits, index = int(message[1]), int(binary.NativeEndian.Uint32(message[4:]))
	for rest := message[unix.SizeofIfAddrmsg:]; len(rest) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < unix.SizeofRtAttr || size > len(rest) {
			break
		}
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !addr.IsValid() {
			addr, _ = netip.AddrFromSlice(rest[unix.SizeofRtAttr:size])
		}
		rest = rest[min(len(rest), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return addr.Unmap(), bits, index
}

// AddAddress adds an address, an IPv6 address without duplicate address
// detection, which would hold it back for a second.
func (h *Handle) AddAddress(index int, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: toIPNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return wrap(h.lib.AddrAdd(linkIndex(index), addr), "add address %s to interface %d", p, index)
}

// LeaseAddress adds an address that the kernel takes away again by itself, or
// lengthens its lease; in whole seconds, never more than asked
// for; it has to be one at least.
func (h *Handle) LeaseAddress(index int, p netip.Prefix, lease time.Duration) error {
	seconds := int(lease / time.Second)
	addr := &netlink.Addr{IPNet: toIPNet(p), ValidLft: seconds, PreferedLft: seconds}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return wrap(h.lib.AddrReplace(linkIndex(index), addr), "lease address %s of interface %d", p, index)
}

// Delivers tells whether the namespace takes packets to the address. For a new
// IPv6 address the kernel makes its local route a little later, in a work item
// that waits for the networking lock.
func (h *Handle) Delivers(addr netip.Addr) (bool, error) {
	routes, err := h.lib.RouteGet(addr.AsSlice())
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
		return false, nil
	}
	if err != nil {
		return false, wrap(err, "look up %s", addr)
	}
	return len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL, nil
}

// DeleteAddress removes an address.
func (h *Handle) DeleteAddress(index int, p netip.Prefix) error {
	return wrap(h.lib.AddrDel(linkIndex(index), &netlink.Addr{IPNet: toIPNet(p)}),
		"delete address %s of interface %d", p, index)
}

// Neighbour is a permanent entry of the neighbour table.
type Neighbour struct {
	IP  netip.Addr
	MAC net.HardwareAddr
}

// AddNeighbour adds or replaces a permanent neighbour entry.
func (h *Handle) AddNeighbour(index int, ip netip.Addr, mac net.HardwareAddr) error {
	return wrap(h.lib.NeighSet(neighbour(index, ip, mac)), "add neighbour %s to interface %d", ip, index)
}

// DeleteNeighbour removes a neighbour entry.
func (h *Handle) DeleteNeighbour(index int, ip netip.Addr) error {
	return wrap(h.lib.NeighDel(neighbour(index, ip, nil)), "delete neighbour %s of interface %d", ip, index)
}

// Neighbours returns the permanent neighbour entries of an interface.
func (h *Handle) Neighbours(index int) ([]Neighbour, error) {
	var neighbours []Neighbour
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := h.listNeighbours(index, f)
		if err != nil {
			return nil, wrap(err, "list neighbours of interface %d", index)
		}
		for _, n := range found {
			if n.State&unix.NUD_PERMANENT != 0 {
				neighbours = append(neighbours, Neighbour{IP: fromIP(n.IP), MAC: n.HardwareAddr})
			}
		}
	}
	return neighbours, nil
}

// usable are the states of a neighbour whose MAC packets may be sent to.
const usable = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

// ResolvedNeighbour returns the MAC of a neighbour. One that is not known is
// ErrNotFound, and the kernel begins to look for it.
func (h *Handle) ResolvedNeighbour(index int, ip netip.Addr) (net.HardwareAddr, error) {
	found, err := h.listNeighbours(index, family(ip))
	if err != nil {
		return nil, wrap(err, "list neighbours of interface %d", index)
	}
	for _, n := range found {
		if fromIP(n.IP) == ip && n.State&usable != 0 && len(n.HardwareAddr) > 0 {
			return n.HardwareAddr, nil
		}
	}
	err = h.lib.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: family(ip), State: unix.NUD_NONE, Flags: unix.NTF_USE, IP: ip.AsSlice(),
	})
	if err == nil {
		err = ErrNotFound
	}
	return nil, wrap(err, "find neighbour %s of interface %d", ip, index)
}

func neighbour(index int, ip netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: family(ip), State: unix.NUD_PERMANENT,
		IP: ip.AsSlice(), HardwareAddr: mac,
	}
}

func linkIndex(index int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
}
