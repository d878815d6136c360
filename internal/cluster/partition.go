// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/weft-project/weft/internal/nl"
)

// nobody is a hardware address that no interface has: frames to it are lost on
// the way, and neither side is told.
var nobody = net.HardwareAddr{0x02, 0xff, 0xff, 0xff, 0xff, 0xff}

// Partition cuts two nodes off from each other, and from nobody else, without a
// sign: what they send to each other is lost.
func (c *Cluster) Partition(a, b *Node) error {
	return errors.Join(a.lose(b), b.lose(a))
}

// Heal ends Partition.
func (c *Cluster) Heal(a, b *Node) error {
	return errors.Join(a.find(b), b.find(a))
}

func (n *Node) lose(other *Node) error {
	return n.onUnderlay(func(h *nl.Handle, index int) error {
		var errs []error
		for _, ip := range []netip.Addr{other.IPv4, other.IPv6} {
			errs = append(errs, h.AddNeighbour(index, ip, nobody))
		}
		return errors.Join(errs...)
	})
}

func (n *Node) find(other *Node) error {
	return n.onUnderlay(func(h *nl.Handle, index int) error {
		var errs []error
		for _, ip := range []netip.Addr{other.IPv4, other.IPv6} {
			errs = append(errs, h.DeleteNeighbour(index, ip))
		}
		return errors.Join(errs...)
	})
}

func (n *Node) onUnderlay(fn func(h *nl.Handle, index int) error) error {
	return nl.Do(n.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(Underlay)
		if err != nil {
			return fmt.Errorf("underlay of %s: %w", n.Name, err)
		}
		return fn(h, link.Index)
	})
}
