// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"context"
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// way is the way to another node.
type way struct {
	tunnel stitch.Tunnel
	former []netip.Addr // from which the other node may still send
	mtu    int          // of what fits through it
}

// usable says why a mechanism is not available on this node, if so.
func (c Config) usable(kind string) error {
	switch {
	case c.Underlay == nil:
		return refuse("this node has no tunnels to others: it has no tunnel address")
	case kind == wireguard.MECHANISM && c.Encrypted == nil:
		return refuse("encryption is switched off on this node")
	}
	return nil
}

// self returns what this node says of itself.
func (c Config) self(kind string) (end, error) {
	if err := c.usable(kind); err != nil {
		return end{}, err
	}
	e := end{addr: c.Underlay.Local(), port: c.Underlay.Port(), weft: true}
	if kind == wireguard.MECHANISM {
		offer, err := c.Encrypted.Offer()
		if err != nil {
			return end{}, refuse("encryption is not available on this node: %v", err)
		}
		e.port, e.key = offer.Port, offer.PublicKey
	}
	return e, nil
}

// path returns the way to another node, which is told what self says, without VNI.
func (c Config) path(ctx context.Context, id, kind string, self, far end) (w way, err error) {
	if err := c.usable(kind); err != nil {
		return w, err
	}
	local := c.Underlay.Local()
	switch {
	case far.addr.Is4() != local.Is4():
		return w, refuse("the other node's address %s and this one's, %s, are not of the same IP version", far.addr, local)
	case far.addr == local:
		return w, refuse("the other node has the address of this one, %s", local)
	}
	if kind == wireguard.MECHANISM {
		return c.encryptedPath(ctx, id, self, far)
	}
	if far.port != 0 && far.port != c.Underlay.Port() {
		return w, refuse("the other node listens on UDP port %d, this one sends to port %d", far.port, c.Underlay.Port())
	}
	if w.mtu, err = c.Underlay.MTU(far.addr); err != nil {
		return w, status.Errorf(codes.Unavailable, "find the MTU towards %s: %v", far.addr, err)
	}
	w.tunnel.Tunnel = xconnect.Tunnel{Device: c.Underlay.Device(), Local: local, Remote: far.addr}
	return w, nil
}

func (c Config) encryptedPath(ctx context.Context, id string, self, far end) (w way, err error) {
	if far.key == "" || far.port == 0 || !far.weft {
		return w, refuse("the other node's forwarder does not say how to encrypt VXLAN: it is not one of Weft's")
	}
	p, err := c.Encrypted.Join(ctx, id, Peer{Addr: far.addr, Port: far.port, PublicKey: far.key, Offered: self.key})
	if err != nil {
		return w, refuse("encrypt for %s: %v", far.addr, err)
	}
	w.tunnel.Tunnel = xconnect.Tunnel{Device: p.Device, Local: p.Local, Remote: p.Remote}
	w.former, w.mtu = p.Former, p.MTU
	return w, nil
}
