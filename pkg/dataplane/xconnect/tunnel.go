// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"io"
	"net/netip"
	"time"
)

// TunnelKey tells tunnels apart on a node.
type TunnelKey struct {
	Device int // index of the VXLAN device
	Remote netip.Addr
	VNI    uint32
}

// Key returns what the tunnel is known by.
func (t Tunnel) Key() TunnelKey { return TunnelKey{Device: t.Device, Remote: t.Remote, VNI: t.VNI} }

// TunnelPort is where the frames of a tunnel go.
type TunnelPort struct {
	IfIndex int      // outer end of a client port or of an endpoint port
	Mark    uint32   // of the frames, for a client port
	Owner   [16]byte // says to later processes whose tunnel it is
}

// EndpointPort is the other side of an endpoint port.
type EndpointPort struct {
	Client int    // outer end of the client port, 0: behind Tunnel
	Tunnel Tunnel // when the client is on another node
	Mark   uint32
}

// State is everything that the maps say.
type State struct {
	Clients   map[int][]Leg
	Endpoints map[int]EndpointPort
	Tunnels   map[TunnelKey]TunnelPort
}

// Peer is another node, as seen from a VXLAN device.
type Peer struct {
	Device int
	Remote netip.Addr
}

// ControlType is the type of a control frame.
type ControlType uint8

// The types of control frames that reach user space.
const (
	ControlState    ControlType = 3
	ControlStateAck ControlType = 4
)

// Control is a control frame of another node, in the VNI of a known tunnel.
type Control struct {
	Tunnel TunnelKey
	Type   ControlType
	Flags  uint8
	Nonce  uint64
}

// SetEndpointBehind makes the outer end an endpoint port whose client is behind
// the tunnel.
func (x *XConnect) SetEndpointBehind(ifindex int, t Tunnel) error { return errors.ErrUnsupported }

// SetTunnel sends the frames of the tunnel to a port.
func (x *XConnect) SetTunnel(t Tunnel, to TunnelPort) error { return errors.ErrUnsupported }

// DeleteTunnel forgets a tunnel: its frames are dropped. An unknown one is no
// error.
func (x *XConnect) DeleteTunnel(t Tunnel) error { return errors.ErrUnsupported }

// AttachDevice puts the program on the ingress of a VXLAN device. Attaching
// again only makes sure that it is there.
func (x *XConnect) AttachDevice(ifindex int) error { return errors.ErrUnsupported }

// State returns everything that the maps say, also of earlier processes.
func (x *XConnect) State() (State, error) { return State{}, errors.ErrUnsupported }

// SetPeer makes the address a known node: its probes are answered.
func (x *XConnect) SetPeer(device int, remote netip.Addr) error { return errors.ErrUnsupported }

// DeletePeer forgets a node. An unknown one is no error.
func (x *XConnect) DeletePeer(device int, remote netip.Addr) error { return errors.ErrUnsupported }

// PeerReply returns when (CLOCK_MONOTONIC; 0: never) the node's last reply to a
// probe came, and the probe's nonce.
func (x *XConnect) PeerReply(device int, remote netip.Addr) (at time.Duration, nonce uint64, err error) {
	return 0, 0, errors.ErrUnsupported
}

// Peers returns the known nodes.
func (x *XConnect) Peers() ([]Peer, error) { return nil, errors.ErrUnsupported }

// WatchControl calls fn, from one goroutine, for every control frame that is
// meant for user space, until the Closer is closed.
func (x *XConnect) WatchControl(fn func(Control)) (io.Closer, error) {
	return nil, errors.ErrUnsupported
}
