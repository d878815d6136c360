// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-project/weft/internal/tunnel"
)

// handshakePoll is how often a Join looks whether there is a session: nothing
// tells.
const handshakePoll = 5 * time.Millisecond

// Join makes the other node reachable for the connection id, and returns how. It
// is repeated with every Request of the connection, on both nodes: the one that
// answers calls it before it answers, the other one with the answer. It may wait
// a moment before it moves a connection to other keys. After an error what the
// connection has joined before is as it was.
func (m *Manager) Join(ctx context.Context, id string, to Peer) (Path, error) {
	path, err := m.join(ctx, id, to)
	if err != nil {
		return Path{}, fmt.Errorf("join %s over WireGuard for connection %q: %w", to.Addr, id, err)
	}
	return path, nil
}

func (m *Manager) join(ctx context.Context, id string, to Peer) (Path, error) {
	if id == "" {
		return Path{}, errors.New("id: empty")
	}
	key, err := to.validate(m.cfg.Local)
	if err != nil {
		return Path{}, err
	}
	endpoint := netip.AddrPortFrom(to.Addr.Unmap(), to.Port)
	mtu, err := m.peerMTU(endpoint.Addr())
	if err != nil {
		return Path{}, fmt.Errorf("peer Addr: %w", err)
	}
	candidates, before, err := m.prepare(id, key, endpoint, to.Offered)
	if err != nil {
		return Path{}, err
	}
	send := candidates[0]
	if before != nil && *before != send {
		send = m.session(ctx, candidates, *before)
	}
	return m.commit(id, candidates[0], send, mtu)
}

// prepare makes the peer known to the generations that packets may come by, and
// returns the pairs to send by, the best one first, and the one that the
// connection sends by at present, if any.
func (m *Manager) prepare(id string, key wgtypes.Key, endpoint netip.AddrPort, offered string) ([]pair, *pair, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	told, err := m.offered(offered)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range m.generations {
		if g.public == key {
			return nil, nil, fmt.Errorf("peer PublicKey: %s is this node's", key)
		}
	}
	candidates := []pair{{told, key}}
	before := m.ids[id]
	if before != nil && before.send.generation != told {
		candidates = append(candidates, pair{before.send.generation, key})
	}
	member := &membership{holds: map[pair]bool{}}
	if before != nil {
		member = before
	}
	holds := maps.Clone(member.holds)
	for _, c := range candidates {
		if _, err := c.generation.putPeer(key, endpoint); err != nil {
			m.free(unneeded(candidates))
			return nil, nil, err
		}
		holds[c] = true
	}
	member.hold(id, holds)
	m.ids[id] = member
	if before == nil {
		return candidates, nil, nil
	}
	now := before.send
	return candidates, &now, nil
}

// unneeded returns the pairs whose peers were made in vain.
func unneeded(pairs []pair) (free []pair) {
	for _, p := range pairs {
		if peer := p.generation.peers[p.peer]; peer != nil && len(peer.ids) == 0 && !peer.kept {
			free = append(free, p)
		}
	}
	return free
}

// offered finds the generation that the other node has been told.
func (m *Manager) offered(public string) (*generation, error) {
	if m.closed {
		return nil, ErrClosed
	}
	if public == "" {
		return m.current(), nil
	}
	for _, g := range m.generations {
		if g.public.String() == public {
			return g, nil
		}
	}
	return nil, fmt.Errorf("peer Offered: %q: %w", public, ErrUnknownOffer)
}

// session waits until there is a session with one of the candidates. Without any
// the connection goes on as before while the other node does, too; if that is
// silent, it has lost its key or has nothing to send, and the first is right.
func (m *Manager) session(ctx context.Context, candidates []pair, before pair) pair {
	ctx, cancel := context.WithTimeout(ctx, m.timing.handshake)
	defer cancel()
	poll := time.NewTicker(handshakePoll)
	defer poll.Stop()
	heard := m.look(before).ReceiveBytes
	for {
		for _, c := range candidates {
			if last := m.look(c).LastHandshakeTime; !last.IsZero() && time.Since(last) < sessionLife {
				return c
			}
		}
		select {
		case <-ctx.Done():
			if m.look(before).ReceiveBytes > heard {
				return before
			}
			return candidates[0]
		case <-poll.C:
		}
	}
}

// look returns what WireGuard knows of a pair, nothing if it cannot tell.
func (m *Manager) look(p pair) wgtypes.Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || p.generation.control == nil {
		return wgtypes.Peer{}
	}
	state, err := p.generation.control.state()
	if err != nil {
		return wgtypes.Peer{}
	}
	for _, found := range state.Peers {
		if found.PublicKey == p.peer {
			return found
		}
	}
	return wgtypes.Peer{}
}

// commit makes the connection send by one of the pairs.
func (m *Manager) commit(id string, told, send pair, mtu int) (Path, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	member := m.ids[id]
	if m.closed || member == nil { // left meanwhile
		return Path{}, ErrClosed
	}
	now := time.Now()
	switch {
	case member.told != told:
		member.since = now
	case member.send == told && send == told && now.Sub(member.since) >= m.timing.settle:
		// Both nodes have sent by it since the Join before this one.
		m.free(member.hold(id, map[pair]bool{told: true}))
	}
	member.told, member.send = told, send
	return Path{
		Device: m.device.Index(), Local: send.generation.inner, Remote: send.generation.peers[send.peer].inner,
		Former: member.former(), MTU: min(mtu, send.generation.mtu) - tunnel.OverheadIPv6,
	}, nil
}

// Leave ends what the connection has joined; an unknown one is no error.
func (m *Manager) Leave(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	member := m.ids[id]
	if member == nil || m.closed {
		return nil
	}
	delete(m.ids, id)
	m.free(member.hold(id, nil))
	return nil
}

// free removes peers that nobody needs. What cannot be removed now is, with its
// generation.
func (m *Manager) free(pairs []pair) {
	for _, p := range pairs {
		if peer := p.generation.peers[p.peer]; peer != nil {
			if err := p.generation.removePeer(peer); err != nil {
				m.cfg.Log.Warn("cannot remove WireGuard peer", "iface", p.generation.name(), "peer", peer.key, "err", err)
			}
		}
	}
}
