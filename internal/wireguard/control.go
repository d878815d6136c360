// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"fmt"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/netns"
)

// control reads and changes one WireGuard device.
type control interface {
	state() (*wgtypes.Device, error)
	configure(wgtypes.Config) error
	close() error
}

// kernelControl is control of a device of the kernel.
type kernelControl struct {
	client *wgctrl.Client
	name   string
}

// openKernel needs the device to be there: it loads the kernel's module, without
// which the client finds nobody to talk to.
func openKernel(private, name string) (*kernelControl, error) {
	k := &kernelControl{name: name}
	err := netns.Do(private, func() (err error) { k.client, err = wgctrl.New(); return err })
	if err != nil {
		return nil, fmt.Errorf("open WireGuard's netlink: %w", err)
	}
	return k, nil
}

func (k *kernelControl) state() (*wgtypes.Device, error) {
	device, err := k.client.Device(k.name)
	if err != nil {
		return nil, fmt.Errorf("get state of %s: %w", k.name, err)
	}
	return device, nil
}

func (k *kernelControl) configure(cfg wgtypes.Config) error {
	if err := k.client.ConfigureDevice(k.name, cfg); err != nil {
		return fmt.Errorf("configure %s: %w", k.name, err)
	}
	return nil
}

func (k *kernelControl) close() error { return k.client.Close() }
