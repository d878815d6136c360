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
		return Path{}, fmt.Errorf("Addr: %w", err)
	}
	candidates, wait, err := m.prepare(id, key, endpoint, to.Offered)
	if err != nil {
		return Path{}, err
	}
	send := candidates[0]
	if wait {
		send = m.session(ctx, candidates)
	}
	return m.commit(id, candidates[0], send, mtu)
}

// prepare makes the peer known to the generations that packets may come by, and
// returns the pairs to send by, the best one first, and whether one of them has
// to prove itself first.
func (m *Manager) prepare(id string, key wgtypes.Key, endpoint netip.AddrPort, offered string) ([]pair, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	told, err := m.offered(offered)
	if err != nil {
		return nil, false, err
	}
	for _, g := range m.generations {
		if g.public == key {
			return nil, false, fmt.Errorf("PublicKey: %s is this node's", key)
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
			return nil, false, err
		}
		holds[c] = true
	}
	member.hold(id, holds)
	m.ids[id] = member
	return candidates, before != nil && before.send != candidates[0], nil
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
	return nil, fmt.Errorf("Offered: %q: %w", public, ErrUnknownOffer)
}

// session waits until there is a session with one of the pairs. Without any it is
// the first all the same: so is a peer that has lost its former key.
func (m *Manager) session(ctx context.Context, candidates []pair) pair {
	ctx, cancel := context.WithTimeout(ctx, m.timing.handshake)
	defer cancel()
	poll := time.NewTicker(handshakePoll)
	defer poll.Stop()
	for {
		for _, c := range candidates {
			m.mu.Lock()
			ready, err := c.generation.ready(c.peer, time.Now())
			m.mu.Unlock()
			if err == nil && ready {
				return c
			}
		}
		select {
		case <-ctx.Done():
			return candidates[0]
		case <-poll.C:
		}
	}
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
