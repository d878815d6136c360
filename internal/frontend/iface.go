// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

// iface is the external interface as it was read last.
type iface struct {
	name      string
	index     int
	addresses []netip.Prefix
	problem   string // why nothing can be sent by it; "": nothing is
}

// readInterface never fails: what is wrong is the interface's problem.
func readInterface(h *nl.Handle, name string) iface {
	i := iface{name: name}
	link, err := h.LinkByName(name)
	if errors.Is(err, nl.ErrNotFound) {
		i.problem = fmt.Sprintf("interface %s is missing", name)
		return i
	}
	if err == nil {
		i.index = link.Index
		i.addresses, err = h.Addresses(link.Index)
	}
	switch {
	case err != nil:
		i.problem = fmt.Sprintf("interface %s: %v", name, err)
	case !link.Up:
		i.problem = fmt.Sprintf("interface %s is down", name)
	case !link.Carrier:
		i.problem = fmt.Sprintf("interface %s has no carrier", name)
	}
	slices.SortFunc(i.addresses, netip.Prefix.Compare)
	return i
}

// lacks says what keeps the interface from reaching the address.
func (i iface) lacks(addr netip.Addr) string {
	if i.problem != "" {
		return i.problem
	}
	if i.source(addr).IsValid() {
		return ""
	}
	if addr.Is4() {
		return fmt.Sprintf("interface %s has no IPv4 address", i.name)
	}
	return fmt.Sprintf("interface %s has no IPv6 address", i.name)
}

// source is our address toward another one: of the same network if there is one,
// else the first of its scope.
func (i iface) source(addr netip.Addr) (best netip.Addr) {
	for _, p := range i.addresses {
		switch a := p.Addr(); {
		case a.Is4() != addr.Is4():
		case p.Masked().Contains(addr.WithZone("")):
			return a
		case !best.IsValid() && a.IsLinkLocalUnicast() == addr.IsLinkLocalUnicast():
			best = a
		}
	}
	return best
}

// global is an address that gateways can be told as next hop for a family.
func (i iface) global(v4 bool, toward netip.Addr) netip.Addr {
	if toward.Is4() == v4 && !toward.IsLinkLocalUnicast() {
		return i.source(toward)
	}
	for _, p := range i.addresses {
		if a := p.Addr(); a.Is4() == v4 && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// onLink says whether an address is reached without a router.
func (i iface) onLink(addr netip.Addr) bool {
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		return true
	}
	return slices.ContainsFunc(i.addresses, func(p netip.Prefix) bool { return p.Masked().Contains(addr) })
}
