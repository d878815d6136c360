// SPDX-License-Identifier: Apache-2.0

package xconnect

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// Peer is another node, as seen from a VXLAN device.
type Peer struct {
	Device int
	Remote netip.Addr
}

// ErrNoPeer says that nothing is known about a node.
var ErrNoPeer = errors.New("no such peer")

func (p Peer) toMap() xconnectPeerKey {
	return xconnectPeerKey{Device: uint32(p.Device), Remote: p.Remote.As16()}
}

// SetPeer makes the address a known node: its probes are answered and its
// replies noted. A known one keeps its last reply.
func (x *XConnect) SetPeer(device int, remote netip.Addr) error {
	if err := checkRemote(device, remote.Unmap()); err != nil {
		return fmt.Errorf("set peer: %w", err)
	}
	key := Peer{device, remote}.toMap()
	err := x.objects.XcPeers.Update(key, xconnectPeer{}, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("write peer %s: %w", remote, err)
	}
	return nil
}

// DeletePeer forgets a node. An unknown one is no error.
func (x *XConnect) DeletePeer(device int, remote netip.Addr) error {
	if !remote.IsValid() {
		return nil // none has it
	}
	err := x.objects.XcPeers.Delete(Peer{device, remote}.toMap())
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete peer %s: %w", remote, err)
	}
	return nil
}

// PeerReply returns when (CLOCK_MONOTONIC; 0: never) the node's last reply to a
// probe came, and the probe's nonce. An unknown node is ErrNoPeer.
func (x *XConnect) PeerReply(device int, remote netip.Addr) (at time.Duration, nonce uint64, err error) {
	if !remote.IsValid() {
		return 0, 0, ErrNoPeer
	}
	// The program may write while it is read: two equal looks are a whole one.
	var peer, before xconnectPeer
	for look := 0; look == 0 || peer != before; look++ {
		before = peer
		err := x.objects.XcPeers.Lookup(Peer{device, remote}.toMap(), &peer)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			err = ErrNoPeer
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read peer %s: %w", remote, err)
		}
	}
	return time.Duration(peer.At), peer.Nonce, nil
}

// Peers returns the known nodes, those of earlier processes, too.
func (x *XConnect) Peers() ([]Peer, error) {
	var (
		peers []Peer
		key   xconnectPeerKey
		value xconnectPeer
	)
	entries := x.objects.XcPeers.Iterate()
	for entries.Next(&key, &value) {
		peers = append(peers, Peer{Device: int(key.Device), Remote: fromAddr(key.Remote)})
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("list peers: %w", err)
	}
	return peers, nil
}
