// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

// Identity is what must not change about a workload's interface while it is
// attached, whatever dies or is changed behind it.
type Identity struct {
	Index     int
	Name, MAC string
	Addresses []string
}

// IdentityOf reads it from the kernel.
func IdentityOf(path, iface string) (id Identity, err error) {
	err = nl.Do(path, func(h *nl.Handle) error {
		link, err := h.LinkByName(iface)
		if err != nil {
			return err
		}
		addresses, err := h.Addresses(link.Index)
		for _, a := range addresses {
			id.Addresses = append(id.Addresses, a.String())
		}
		slices.Sort(id.Addresses)
		id.Index, id.Name, id.MAC = link.Index, link.Name, link.MAC.String()
		return err
	})
	return id, err
}
