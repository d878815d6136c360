// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/weft-project/weft/internal/bpffs"
	"github.com/weft-project/weft/pkg/dataplane/ingress"
)

// MaxLegs is how many legs a client port can have.
const MaxLegs = len(xconnectPort{}.Legs)

// ErrTooManyLegs says that a leg set is larger than MaxLegs.
var ErrTooManyLegs = errors.New("too many legs")

// DefaultGateway is the gateway's MAC address on every workload interface.
var DefaultGateway = net.HardwareAddr{0x02, 0x57, 0x45, 0x46, 0x54, 0x01}

// Config configures a cross-connect.
type Config struct {
	// NetNS is the namespace of the outer ends; empty is the present one.
	NetNS string
	// Gateway is the gateway's MAC; nil is DefaultGateway.
	Gateway net.HardwareAddr
	// PinDir is a directory under a mounted bpffs. Ports keep forwarding
	// while no process holds them, and the next Open with the same directory
	// takes them over, with its own program. Empty: nothing is pinned.
	PinDir string
}

// Leg is one way out of a client port.
type Leg struct {
	IfIndex int              // outer end of the endpoint port, 0: behind Tunnel
	Tunnel  Tunnel           // when the endpoint is on another node
	MAC     net.HardwareAddr // of its inner end
	Local   bool             // preferred to legs that are not
}

// XConnect is the loaded program and its maps. Its methods may be called
// concurrently.
type XConnect struct {
	pinDir  string
	place   *bpffs.Place // of pinDir, nil without
	objects xconnectObjects
	block   *ingress.Block // all ports
	devices *ingress.Block // VXLAN devices

	mu         sync.Mutex // guards what follows, and the order of writes
	generation uint32
	watch      *controlWatch // nil: nobody watches
	closed     bool
}

// Open loads the program.
func Open(cfg Config) (*XConnect, error) {
	spec, err := loadXconnect()
	if err != nil {
		return nil, fmt.Errorf("load xconnect: %w", err)
	}
	if cfg.Gateway == nil {
		cfg.Gateway = DefaultGateway
	}
	if len(cfg.Gateway) != 6 {
		return nil, fmt.Errorf("gateway MAC %s: not 6 bytes", cfg.Gateway)
	}
	if err := spec.Variables["gateway_mac"].Set([6]byte(cfg.Gateway)); err != nil {
		return nil, fmt.Errorf("set gateway MAC: %w", err)
	}
	// A program of an earlier process may have written any generation.
	x := &XConnect{pinDir: cfg.PinDir, generation: rand.Uint32()}
	options := &ebpf.CollectionOptions{}
	if x.pinDir != "" {
		if x.place, err = bpffs.Open(x.pinDir); err != nil {
			return nil, err
		}
		if err := recoverPins(cfg.NetNS, x.pinDir); err != nil {
			return nil, fmt.Errorf("open xconnect: %w", err)
		}
		options.Maps.PinPath = x.pinDir
		pins(spec)
	}
	if err := spec.LoadAndAssign(&x.objects, options); err != nil {
		return nil, fmt.Errorf("load xconnect: %w", err)
	}
	if err := x.takeOver(cfg.NetNS); err != nil {
		return nil, errors.Join(fmt.Errorf("open xconnect: %w", err), x.release(true))
	}
	return x, nil
}

// takeOver gives what earlier processes have left to this one's programs.
func (x *XConnect) takeOver(netNS string) (err error) {
	var ports, devices uint32 // ids of the blocks; unpinned: random
	if x.pinDir != "" {
		ports, devices = blocks(x.pinDir)
	}
	if x.block, err = ingress.Open(netNS, ports, x.objects.Xconnect); err != nil {
		return err
	}
	if x.devices, err = ingress.Open(netNS, devices, x.objects.XcTunnel); err != nil {
		return err
	}
	if x.pinDir == "" {
		return nil
	}
	if err := x.carryOver(); err != nil {
		return err
	}
	if err := x.adopt(); err != nil {
		return fmt.Errorf("adopt ports: %w", err)
	}
	return x.dropOld()
}

// blocks are the ids of the blocks of ports and of devices that go with a pin
// directory.
func blocks(pinDir string) (ports, devices uint32) {
	return ingress.ID(pinDir), ingress.ID(pinDir + "/devices")
}

// adopt finds the ports and devices of an earlier process and gives them these
// programs.
func (x *XConnect) adopt() error {
	state, err := x.State()
	if err != nil {
		return err
	}
	peers, err := x.Peers()
	if err != nil {
		return err
	}
	devices := map[int]struct{}{}
	for key := range state.Tunnels {
		devices[key.Device] = struct{}{}
	}
	for _, peer := range peers {
		devices[peer.Device] = struct{}{}
	}
	ports := slices.AppendSeq(slices.Collect(maps.Keys(state.Clients)), maps.Keys(state.Endpoints))
	return errors.Join(x.block.Adopt(ports), x.devices.Adopt(slices.Collect(maps.Keys(devices))))
}

// Close releases everything. With keep, all ports go on forwarding (and, if
// pinned, can be adopted); without, forwarding ends and pins are removed. Only
// the first Close does anything; after it nothing else may be called.
func (x *XConnect) Close(keep bool) error {
	x.mu.Lock()
	watch, closed := x.watch, x.closed
	x.closed = true
	x.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	if watch != nil {
		errs = append(errs, watch.Close())
	}
	errs = append(errs, x.release(keep))
	if !keep {
		errs = append(errs, x.unpin())
	}
	return errors.Join(errs...)
}

// release gives back what the process holds.
func (x *XConnect) release(keep bool) error {
	var errs []error
	for _, block := range []*ingress.Block{x.block, x.devices} {
		if block != nil {
			errs = append(errs, block.Close(keep))
		}
	}
	return errors.Join(append(errs, x.objects.Close())...)
}

// Attach puts the program on the ingress of an outer end. Attaching again
// only makes sure that it is there.
func (x *XConnect) Attach(ifindex int) error {
	if err := x.block.Join(ifindex); err != nil {
		return fmt.Errorf("attach xconnect to interface %d: %w", ifindex, err)
	}
	return nil
}

// Attached tells whether an outer end has the program.
func (x *XConnect) Attached(ifindex int) (bool, error) {
	attached, err := x.block.Joined(ifindex)
	if err != nil {
		return false, fmt.Errorf("look for xconnect on interface %d: %w", ifindex, err)
	}
	return attached, nil
}

// SetClient makes the outer end a client port with exactly these legs, in one
// atomic step.
func (x *XConnect) SetClient(ifindex int, legs []Leg) error {
	port, err := toClient(ifindex, legs)
	if err != nil {
		return fmt.Errorf("set client port %d: %w", ifindex, err)
	}
	return x.write(port)
}

// SetEndpoint makes the outer end an endpoint port of a client port. Its frames
// reach the workload with the mark.
func (x *XConnect) SetEndpoint(ifindex, client int, mark uint32) error {
	return x.write(toEndpoint(ifindex, xconnectLeg{Ifindex: uint32(client)}, mark))
}

func (x *XConnect) write(port xconnectPort) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.generation++
	port.Generation = x.generation
	if err := x.objects.XcPorts.Put(port.Ifindex, port); err != nil {
		return fmt.Errorf("write port %d: %w", port.Ifindex, err)
	}
	return nil
}

// Delete forgets a port: its frames are dropped, the program is detached. An
// unknown port and an interface that is gone are no errors.
func (x *XConnect) Delete(ifindex int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	if err := x.objects.XcPorts.Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		errs = append(errs, fmt.Errorf("delete port %d: %w", ifindex, err))
	}
	if err := x.block.Leave(ifindex); err != nil {
		errs = append(errs, fmt.Errorf("detach xconnect from interface %d: %w", ifindex, err))
	}
	return errors.Join(errs...)
}

// Ports returns the indices of all ports, those of earlier processes, too.
func (x *XConnect) Ports() ([]int, error) {
	var (
		ports []int
		key   uint32
		value xconnectPort
	)
	entries := x.objects.XcPorts.Iterate()
	for entries.Next(&key, &value) {
		ports = append(ports, int(key))
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	return ports, nil
}
