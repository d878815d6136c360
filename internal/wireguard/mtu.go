// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"fmt"
	"net/netip"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// udpHeader and dataHeader are what WireGuard adds besides the IP header: a
	// header of 16 bytes and a tag of 16.
	udpHeader  = 8
	dataHeader = 32
	// minMTU is the least that IPv6 works on.
	minMTU = 1280
	// padding is what WireGuard rounds up to, but not beyond the interface's MTU.
	padding = 16
)

// overhead is WireGuard's on an underlay of the address's family.
func overhead(underlay netip.Addr) int {
	if underlay.Is4() {
		return 20 + udpHeader + dataHeader
	}
	return 40 + udpHeader + dataHeader
}

// deviceMTU returns that of a new generation, which suits the interface that has
// the node's address.
func (m *Manager) deviceMTU() (mtu int, err error) {
	err = withHandle(m.cfg.NetNS, func(h *nl.Handle) error {
		owners, err := h.AddressOwners()
		if err != nil {
			return err
		}
		if len(owners[m.cfg.Local]) == 0 {
			return fmt.Errorf("field Local: %s is no address of the node's namespace", m.cfg.Local)
		}
		link, err := h.LinkByIndex(owners[m.cfg.Local][0])
		mtu = max(link.MTU-overhead(m.cfg.Local), minMTU)
		return err
	})
	return mtu, err
}

// peerMTU returns how long packets into a WireGuard interface may be so that
// they are not fragmented on the way to the peer.
func (m *Manager) peerMTU(addr netip.Addr) (mtu int, err error) {
	err = withHandle(m.cfg.NetNS, func(h *nl.Handle) error {
		mtu, err = h.RouteMTU(addr)
		return err
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	mtu -= overhead(addr)
	if mtu < m.current().mtu {
		mtu -= mtu % padding
	}
	return mtu, err
}
