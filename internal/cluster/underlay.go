// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

const (
	switchName = "switch"
	bridge     = "br0"
	// Underlay is a node's interface on it.
	Underlay = "eth0"

	underlayTimeout = 10 * time.Second
)

func (c *Cluster) makeSwitch() error {
	path, err := c.Add(switchName)
	if err != nil {
		return err
	}
	return nl.Do(path, func(h *nl.Handle) error {
		link, err := h.AddBridge(bridge)
		if err != nil {
			return err
		}
		return h.SetUp(link.Index)
	})
}

// plug joins a node's namespace with the underlay.
func (c *Cluster) plug(n *Node) error {
	return errors.Join(withoutDAD(n.NetNS),
		nl.Do(c.Path(switchName), func(h *nl.Handle) error {
			master, err := h.LinkByName(bridge)
			if err != nil {
				return err
			}
			port, _, err := h.AddVeth(nl.Veth{
				Name: n.Name, PeerName: Underlay, PeerNetNS: n.NetNS, PeerUp: true, MTU: c.options.MTU, NoLinkLocal: true,
			})
			if err != nil {
				return err
			}
			return errors.Join(h.SetMaster(port.Index, master.Index), h.SetUp(port.Index))
		}),
		nl.Do(n.NetNS, func(h *nl.Handle) error {
			link, err := h.LinkByName(Underlay)
			if err != nil {
				return err
			}
			return errors.Join(h.AddAddress(link.Index, netip.PrefixFrom(n.IPv4, 24)),
				h.AddAddress(link.Index, netip.PrefixFrom(n.IPv6, 64)))
		}))
}

// awaitUnderlay waits until the switch forwards: the kernel opens a bridge's
// ports some time after their interfaces are up.
func (c *Cluster) awaitUnderlay() error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	deadline := time.Now().Add(underlayTimeout)
	first := c.Nodes[0]
	return first.onUnderlay(func(h *nl.Handle, index int) error {
		for _, n := range c.Nodes[1:] {
			for _, ip := range []netip.Addr{n.IPv4, n.IPv6} {
				for _, err := h.ResolvedNeighbour(index, ip); err != nil; _, err = h.ResolvedNeighbour(index, ip) {
					if time.Now().After(deadline) {
						return fmt.Errorf("%s does not reach %s: %w", first.Name, ip, err)
					}
					<-tick.C
				}
			}
		}
		return nil
	})
}
