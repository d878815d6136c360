// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

const (
	// MaxID is the highest VLAN id.
	MaxID = 4094
	// MaxPorts is how many ports a VLAN of a base interface can have.
	MaxPorts = len(vlanGroup{}.Members)
)

// What callers branch on.
var (
	ErrTooManyPorts = errors.New("too many ports in one VLAN")
	ErrMACTaken     = errors.New("MAC is another port's of the VLAN")
)

// Config configures the programs.
type Config struct {
	// NetNS is the namespace of outer ends and base interfaces; empty is the
	// present one.
	NetNS string
	// PinDir is a directory under a mounted bpffs. Ports keep working while no
	// process holds them, and the next Open with the same directory takes them
	// over. Empty: nothing is pinned.
	PinDir string
}

// Port joins an outer end with a VLAN of a base interface.
type Port struct {
	IfIndex int // outer end of a veth
	Base    int // interface index
	VLAN    int // 0: untagged
	MAC     net.HardwareAddr
}

func (p Port) validate() error {
	switch {
	case p.IfIndex <= 0 || p.Base <= 0 || p.IfIndex == p.Base:
		return fmt.Errorf("interfaces %d and %d", p.IfIndex, p.Base)
	case p.VLAN < 0 || p.VLAN > MaxID:
		return fmt.Errorf("VLAN id %d is not between 0 and %d", p.VLAN, MaxID)
	case len(p.MAC) != 6 || p.MAC[0]&1 != 0:
		return fmt.Errorf("MAC %s is no unicast Ethernet address", p.MAC)
	}
	return nil
}

func (p Port) station() vlanStationKey {
	return vlanStationKey{Base: uint32(p.Base), Vlan: uint16(p.VLAN), Mac: [6]byte(p.MAC)}
}

func (p Port) group() vlanGroupKey { return vlanGroupKey{Base: uint32(p.Base), Vlan: uint32(p.VLAN)} }

// VLAN is the loaded programs and their maps. Its methods may be called
// concurrently.
type VLAN struct {
	cfg     Config
	objects vlanObjects
	block   *ingress.Block // all ports

	mu         sync.Mutex // guards what follows, and the order of writes
	generation uint32
	ports      map[int]Port      // by outer end
	bases      map[int]link.Link // by interface
	closed     bool
}

// Open loads the programs and takes over what an earlier process has left.
func Open(cfg Config) (*VLAN, error) {
	spec, err := loadVlan()
	if err != nil {
		return nil, fmt.Errorf("load vlan: %w", err)
	}
	v := &VLAN{cfg: cfg, generation: rand.Uint32(), ports: map[int]Port{}, bases: map[int]link.Link{}}
	options := &ebpf.CollectionOptions{}
	block := uint32(0) // unpinned: random
	if cfg.PinDir != "" {
		if _, err := bpffs.Open(cfg.PinDir); err != nil {
			return nil, err
		}
		options.Maps.PinPath = cfg.PinDir
		pinMaps(spec)
		block = blockID(cfg.PinDir)
	}
	if err := spec.LoadAndAssign(&v.objects, options); err != nil {
		return nil, fmt.Errorf("load vlan: %w", err)
	}
	if v.block, err = ingress.Open(cfg.NetNS, block, v.objects.VlPort); err == nil {
		err = v.adopt()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open vlan: %w", err), v.release(true))
	}
	return v, nil
}

// Close releases everything. With keep, all ports go on (and, if pinned, can be
// adopted); without, they end and the pins are removed. Only the first Close does
// anything; after it nothing else may be called.
func (v *VLAN) Close(keep bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	if keep {
		return v.release(true)
	}
	var errs []error
	for base := range v.bases {
		errs = append(errs, v.detach(base))
	}
	return errors.Join(append(errs, v.release(false), v.unpin())...)
}

func (v *VLAN) release(keep bool) error {
	var errs []error
	if v.block != nil {
		errs = append(errs, v.block.Close(keep))
	}
	for _, l := range v.bases {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, v.objects.Close())...)
}

// Set makes the outer end a port, and the base interface's program is there. A
// port that was of another VLAN leaves that. When it fails, everything is as
// before.
func (v *VLAN) Set(p Port) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("set port %d: %w", p.IfIndex, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old, had := v.ports[p.IfIndex]
	if err := v.room(p); err != nil {
		return fmt.Errorf("set port %d: %w", p.IfIndex, err)
	}
	err := v.set(p)
	if err == nil && had {
		err = v.leave(old, p)
	}
	if err == nil {
		return nil
	}
	if had {
		err = errors.Join(err, v.set(old), v.leave(p, old))
	} else {
		err = errors.Join(err, v.remove(p))
	}
	return fmt.Errorf("set port %d: %w", p.IfIndex, err)
}

// room tells whether the VLAN takes the port. The caller holds mu.
func (v *VLAN) room(p Port) error {
	n := 1
	for _, other := range v.ports {
		if other.IfIndex == p.IfIndex || other.group() != p.group() {
			continue
		}
		if n++; other.station() == p.station() {
			return fmt.Errorf("%s in VLAN %d: %w (interface %d)", p.MAC, p.VLAN, ErrMACTaken, other.IfIndex)
		}
	}
	if n > MaxPorts {
		return fmt.Errorf("VLAN %d of interface %d has %d: %w", p.VLAN, p.Base, MaxPorts, ErrTooManyPorts)
	}
	return nil
}

// set writes a port, the truth first. The caller holds mu.
func (v *VLAN) set(p Port) error {
	v.generation++
	err := v.objects.VlPorts.Put(uint32(p.IfIndex), vlanPort{
		Ifindex: uint32(p.IfIndex), Generation: v.generation, Base: uint32(p.Base), Vlan: uint16(p.VLAN), Mac: [6]byte(p.MAC),
	})
	if err != nil {
		return fmt.Errorf("write port: %w", err)
	}
	v.ports[p.IfIndex] = p
	if err := v.follow(p); err != nil {
		return err
	}
	if err := v.attach(p.Base); err != nil {
		return err
	}
	if err := v.block.Join(p.IfIndex); err != nil {
		return fmt.Errorf("attach vlan: %w", err)
	}
	return nil
}

// follow writes what follows from a port.
func (v *VLAN) follow(p Port) error {
	v.generation++
	key := p.station()
	value := vlanStation{Key: key, Generation: v.generation, Ifindex: uint32(p.IfIndex)}
	if err := v.objects.VlStations.Put(key, value); err != nil {
		return fmt.Errorf("write station %s: %w", p.MAC, err)
	}
	return v.writeGroup(p.group())
}

// writeGroup writes the members of a VLAN as the ports are, or removes it.
func (v *VLAN) writeGroup(key vlanGroupKey) error {
	v.generation++
	value := vlanGroup{Key: key, Generation: v.generation}
	for _, p := range v.ports {
		if p.group() == key {
			value.Members[value.Count] = uint32(p.IfIndex)
			value.Count++
		}
	}
	if value.Count == 0 {
		return ignoreMissing(v.objects.VlGroups.Delete(key))
	}
	if err := v.objects.VlGroups.Put(key, value); err != nil {
		return fmt.Errorf("write VLAN %d: %w", key.Vlan, err)
	}
	return nil
}

// leave removes what followed from a port and does not follow from the one in its
// place, which may be the zero one.
func (v *VLAN) leave(old, now Port) error {
	var errs []error
	if now.MAC == nil || old.station() != now.station() {
		errs = append(errs, ignoreMissing(v.objects.VlStations.Delete(old.station())))
	}
	if old.group() != now.group() {
		errs = append(errs, v.writeGroup(old.group()))
	}
	if old.Base != now.Base {
		errs = append(errs, v.detachUnused(old.Base))
	}
	return errors.Join(errs...)
}

// Delete forgets a port: its frames are dropped, the program is detached. An
// unknown port and an interface that is gone are no errors.
func (v *VLAN) Delete(ifindex int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	p, ok := v.ports[ifindex]
	if !ok {
		return nil
	}
	if err := v.remove(p); err != nil {
		return fmt.Errorf("delete port %d: %w", ifindex, err)
	}
	return nil
}

func (v *VLAN) remove(p Port) error {
	if err := ignoreMissing(v.objects.VlPorts.Delete(uint32(p.IfIndex))); err != nil {
		return err
	}
	delete(v.ports, p.IfIndex)
	return errors.Join(v.leave(p, Port{}), v.block.Leave(p.IfIndex))
}

// Ports returns all ports, those of earlier processes, too.
func (v *VLAN) Ports() []Port {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]Port, 0, len(v.ports))
	for _, p := range v.ports {
		all = append(all, p)
	}
	return all
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
