// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/weft-project/weft/internal/nl"
)

// Defaults of Config.
const (
	DefaultName = "weft-vxlan"
	DefaultPort = 4789
)

// maxMTU lets any packet into the device: the limit is that of the way to the
// other node, which differs from node to node.
const maxMTU = 65465

// ErrOccupied says that an interface of that name is not such a device.
var ErrOccupied = errors.New("interface of that name is another kind of device")

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
	// Alias is the interface's.
	Alias string
}

// Device is a node's VXLAN device. Its methods may be called concurrently.
type Device struct {
	index int

	mu       sync.Mutex // guards the handles
	host     *nl.Handle // where the interface is; nil when closed
	underlay *nl.Handle // may be the same
}

// Open makes the device, or adopts the one that is there, and sets it up.
func Open(cfg Config) (*Device, error) {
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if cfg.Port == 0 {
		cfg.Port = DefaultPort
	}
	d := &Device{}
	if err := d.open(cfg); err != nil {
		return nil, fmt.Errorf("open VXLAN device %s: %w", cfg.Name, errors.Join(err, d.closeHandles()))
	}
	return d, nil
}

func (d *Device) open(cfg Config) (err error) {
	if d.host, err = nl.Open(cfg.NetNS); err != nil {
		return err
	}
	d.underlay = d.host
	if cfg.Underlay != "" && cfg.Underlay != cfg.NetNS {
		if d.underlay, err = nl.Open(cfg.Underlay); err != nil {
			return fmt.Errorf("underlay: %w", err)
		}
	}
	made := false
	link, err := d.host.VXLANByName(cfg.Name)
	if errors.Is(err, nl.ErrNotFound) {
		link, err = d.add(cfg)
		made = err == nil
	}
	if err != nil {
		return err
	}
	if link.VNI != 0 || link.Port != cfg.Port || link.Kind != "vxlan" {
		return fmt.Errorf("%w: %s, VNI %d, port %d", ErrOccupied, link.Kind, link.VNI, link.Port)
	}
	d.index = link.Index
	// Only this opens its sockets; another process may have the port.
	if err := d.host.SetUp(link.Index); err != nil {
		if made {
			err = errors.Join(err, d.host.DeleteLink(link.Index))
		}
		return err
	}
	return nil
}

// add makes the device in the underlay's namespace and moves it to its own. Its
// packets travel where it was made.
func (d *Device) add(cfg Config) (nl.VXLANLink, error) {
	link, err := d.underlay.AddVXLAN(nl.VXLAN{
		Name: cfg.Name, Alias: cfg.Alias, MTU: maxMTU, Port: cfg.Port, NoLinkLocal: true,
	})
	if err != nil {
		return nl.VXLANLink{}, err
	}
	if d.underlay != d.host {
		if err := d.underlay.MoveLink(link.Index, cfg.NetNS); err != nil {
			return nl.VXLANLink{}, errors.Join(err, d.underlay.DeleteLink(link.Index))
		}
	}
	return d.host.VXLANByName(cfg.Name)
}

// Index returns the index of the interface.
func (d *Device) Index() int { return d.index }

// The bytes that VXLAN adds to an IP packet: inner Ethernet header, VXLAN, UDP
// and IP header.
const (
	OverheadIPv4 = 14 + 8 + 8 + 20
	OverheadIPv6 = 14 + 8 + 8 + 40
)

// MTU returns how long IP packets to the other node may be so that one of the
// underlay holds each. It is that of now: routes, and what path-MTU discovery
// finds, change it.
func (d *Device) MTU(remote netip.Addr) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.underlay == nil {
		return 0, errors.New("VXLAN device is closed")
	}
	mtu, err := d.underlay.RouteMTU(remote)
	if err != nil {
		return 0, fmt.Errorf("find MTU of tunnel to %s: %w", remote, err)
	}
	if remote.Unmap().Is4() {
		return mtu - OverheadIPv4, nil
	}
	return mtu - OverheadIPv6, nil
}

// Close ends the use of the device; with keep it stays, for the next Open. Only
// the first Close does anything.
func (d *Device) Close(keep bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.host == nil {
		return nil
	}
	var err error
	if !keep {
		if err = d.host.DeleteLink(d.index); errors.Is(err, nl.ErrNotFound) {
			err = nil
		}
	}
	return errors.Join(err, d.closeHandles())
}

func (d *Device) closeHandles() error {
	var errs []error
	if d.underlay != nil && d.underlay != d.host {
		errs = append(errs, d.underlay.Close())
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	d.host, d.underlay = nil, nil
	return errors.Join(errs...)
}
