// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"net"

	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/netns"
)

// Inspect returns the endpoint as what can be traced, observed and counted.
func (c *Component) Inspect() inspect.Replica {
	r := inspect.Replica{
		Name: c.config.Name, Trench: c.config.Trench, Conduit: c.config.Conduit,
		NetNS: c.config.NetNS, Interface: c.config.ExternalInterface, VLAN: c.config.VLAN, Mode: c.plane.Mode().String(),
		Plane: c.plane, State: c.balancer,
	}
	// An interface that is not there now has no MAC, and the caller is told so.
	_ = netns.Do(c.config.NetNS, func() error {
		dev, err := net.InterfaceByName(c.config.ExternalInterface)
		if err == nil {
			r.MAC = dev.HardwareAddr
		}
		return err
	})
	return r
}
