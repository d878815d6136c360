// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/nl"
)

// keepalive keeps sessions with all peers, so that a handshake delays no packet;
// turning it on begins one at once.
const keepalive = 25 * time.Second

// peer is a key of another node, as one generation knows it.
type peer struct {
	key      wgtypes.Key
	endpoint netip.AddrPort
	inner    netip.Addr
	ids      map[string]bool // the connections that need it
	kept     bool            // needed without an id: adopted, or known to an older generation
}

// putPeer makes sure that the generation has the peer with the endpoint.
func (g *generation) putPeer(key wgtypes.Key, endpoint netip.AddrPort) (*peer, error) {
	if p := g.peers[key]; p != nil {
		// The kernel follows a peer to where its packets come from.
		if p.endpoint == endpoint && !g.kernel {
			return p, nil
		}
		moved := *p
		moved.endpoint = endpoint
		if err := g.addPeer(&moved); err != nil {
			return nil, err
		}
		p.endpoint = endpoint
		return p, nil
	}
	if err := g.checkCollision(key); err != nil {
		return nil, err
	}
	p := &peer{key: key, endpoint: endpoint, inner: g.place.hash(key), ids: map[string]bool{}}
	if err := g.addPeer(p); err != nil {
		return nil, err
	}
	g.peers[key] = p
	return p, nil
}

// checkCollision refuses a key whose address is taken: the kernel would move the
// address, and with it all packets, to the new key.
func (g *generation) checkCollision(key wgtypes.Key) error {
	inner := g.place.hash(key)
	if inner == g.inner {
		return fmt.Errorf("peer PublicKey: %w: %s and this node's %s have %s", ErrCollision, key, g.public, inner)
	}
	for _, p := range g.peers {
		if p.inner == inner && p.key != key {
			return fmt.Errorf("peer PublicKey: %w: %s and %s have %s", ErrCollision, key, p.key, inner)
		}
	}
	return nil
}

// addPeer configures a peer and the route to it. A peer that is there is not
// interrupted: replacing its allowed addresses would leave it without any for a
// moment.
func (g *generation) addPeer(p *peer) error {
	interval := keepalive
	if err := g.control.configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{
		PublicKey: p.key, Endpoint: net.UDPAddrFromAddrPort(p.endpoint),
		AllowedIPs:                  []net.IPNet{toIPNet(p.inner)},
		PersistentKeepaliveInterval: &interval,
	}}}); err != nil {
		return err
	}
	return withHandle(g.place.private, func(h *nl.Handle) error { return h.ReplaceRoute(g.route(p)) })
}

// removePeer takes a peer off.
func (g *generation) removePeer(p *peer) error {
	err := withHandle(g.place.private, func(h *nl.Handle) error {
		return ignore(h.DeleteRoute(g.route(p)), nl.ErrNotFound)
	})
	if err != nil {
		return err
	}
	if err := g.control.configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: p.key, Remove: true}}}); err != nil {
		return err
	}
	delete(g.peers, p.key)
	return nil
}

func (g *generation) route(p *peer) nl.Route {
	return nl.Route{Index: g.index, Prefix: host(p.inner), Table: g.table()}
}

// sessionLife is WireGuard's REJECT_AFTER_TIME.
const sessionLife = 180 * time.Second
