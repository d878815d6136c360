// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"errors"
	"net/netip"
)

// Config configures a device.
type Config struct {
	// NetNS is the namespace of the interface, where packets are xconnected;
	// empty is the present one.
	NetNS string
	// Underlay is the namespace of the UDP side; empty is NetNS.
	Underlay string
	// Name is the interface's, DefaultName if empty.
	Name string
	// Port is the UDP port, DefaultPort if 0.
	Port uint16
}

// Defaults of Config.
const (
	DefaultName = "weft-vxlan"
	DefaultPort = 4789
)

// Device is a node's VXLAN device.
type Device struct{ index int }

// Open makes the device, or adopts the one that is there.
func Open(cfg Config) (*Device, error) { return nil, errors.ErrUnsupported }

// Index returns the index of the interface.
func (d *Device) Index() int { return d.index }

// MTU returns how long the IP packets of a leg to the other node may be.
func (d *Device) MTU(remote netip.Addr) (int, error) { return 0, errors.ErrUnsupported }

// Close ends the use of the device; with keep it stays.
func (d *Device) Close(keep bool) error { return errors.ErrUnsupported }
