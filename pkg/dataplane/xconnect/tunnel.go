// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// VNIs that have a meaning of their own.
const (
	MaxVNI     = 1<<24 - 1
	ControlVNI = 0xfffffe // of probes and their replies; no tunnel has it
)

// ErrBadTunnel says that a tunnel is not completely or not rightly described.
var ErrBadTunnel = errors.New("bad tunnel")

// Tunnel is one end of a VXLAN tunnel: how the frames of one connection travel
// between two nodes.
type Tunnel struct {
	Device int        // index of the node's metadata-mode VXLAN device
	Local  netip.Addr // of the underlay; zero: the kernel's choice
	Remote netip.Addr
	VNI    uint32 // 1 to MaxVNI except ControlVNI; with Device and Remote unique on the node
}

// TunnelKey tells tunnels apart on a node.
type TunnelKey struct {
	Device int // index of the VXLAN device
	Remote netip.Addr
	VNI    uint32
}

// TunnelPort is where the frames of a tunnel go.
type TunnelPort struct {
	IfIndex int      // outer end of a client port or of an endpoint port
	Mark    uint32   // of the frames, for a client port
	Owner   [16]byte // says to later processes whose tunnel it is
}

// Key returns what the tunnel is known by.
func (t Tunnel) Key() TunnelKey {
	return TunnelKey{Device: t.Device, Remote: t.Remote.Unmap(), VNI: t.VNI}
}

func (t Tunnel) check() error {
	remote := t.Remote.Unmap()
	switch {
	case t.VNI == 0, t.VNI > MaxVNI, t.VNI == ControlVNI:
		return fmt.Errorf("%w: VNI %d is not one of 1 to %d without %d", ErrBadTunnel, t.VNI, MaxVNI, ControlVNI)
	case t.Local.IsValid() && t.Local.Unmap().Is4() != remote.Is4():
		return fmt.Errorf("%w: local address %s and remote address %s are not of one family", ErrBadTunnel, t.Local, t.Remote)
	}
	return checkRemote(t.Device, remote)
}

func checkRemote(device int, remote netip.Addr) error {
	switch {
	case device <= 0:
		return fmt.Errorf("%w: device %d is no interface", ErrBadTunnel, device)
	case !remote.IsValid(), remote.IsUnspecified(), remote.IsMulticast(), remote.Zone() != "":
		return fmt.Errorf("%w: remote address %s is not one of a node", ErrBadTunnel, remote)
	}
	return nil
}

func (k TunnelKey) toMap() xconnectTunnelKey {
	return xconnectTunnelKey{Device: uint32(k.Device), Vni: k.VNI, Remote: k.Remote.As16()}
}

func (k xconnectTunnelKey) fromMap() TunnelKey {
	return TunnelKey{Device: int(k.Device), Remote: fromAddr(k.Remote), VNI: k.Vni}
}

func fromAddr(a [16]byte) netip.Addr { return netip.AddrFrom16(a).Unmap() }

// SetTunnel sends the frames of the tunnel to a port, in one atomic step.
func (x *XConnect) SetTunnel(t Tunnel, to TunnelPort) error {
	err := t.check()
	if err == nil && to.IfIndex <= 0 {
		err = fmt.Errorf("port %d is no interface", to.IfIndex)
	}
	if err != nil {
		return fmt.Errorf("set tunnel: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.generation++
	key := t.Key().toMap()
	value := xconnectTunnel{
		Key: key, Generation: x.generation, Ifindex: uint32(to.IfIndex), Mark: to.Mark, Owner: to.Owner,
	}
	if err := x.objects.XcTunnels.Put(key, value); err != nil {
		return fmt.Errorf("write tunnel %d from %s: %w", t.VNI, t.Remote, err)
	}
	return nil
}

// DeleteTunnel forgets a tunnel: its frames are dropped. An unknown one is no
// error.
func (x *XConnect) DeleteTunnel(t Tunnel) error {
	if !t.Remote.IsValid() {
		return nil // none has it
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.objects.XcTunnels.Delete(t.Key().toMap())
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete tunnel %d from %s: %w", t.VNI, t.Remote, err)
	}
	return nil
}

// SetEndpointBehind makes the outer end an endpoint port whose client is behind
// the tunnel.
func (x *XConnect) SetEndpointBehind(ifindex int, t Tunnel) error {
	leg, err := throughTunnel(t)
	if err != nil {
		return fmt.Errorf("set endpoint port %d: %w", ifindex, err)
	}
	return x.write(toEndpoint(ifindex, leg, 0))
}

func toEndpoint(ifindex int, client xconnectLeg, mark uint32) xconnectPort {
	port := xconnectPort{
		Ifindex: uint32(ifindex), Kind: xconnectPortKindPORT_ENDPOINT, Mark: mark, LegCount: 1,
	}
	port.Legs[0] = client
	return port
}

// AttachDevice puts the program on the ingress of a VXLAN device. Attaching
// again only makes sure that it is there.
func (x *XConnect) AttachDevice(ifindex int) error {
	if err := x.devices.Join(ifindex); err != nil {
		return fmt.Errorf("attach xconnect to VXLAN device %d: %w", ifindex, err)
	}
	return nil
}
