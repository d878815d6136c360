// SPDX-License-Identifier: Apache-2.0

package tunnelmech

import (
	"context"
	"net/netip"

	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/weft-project/weft/internal/stitch"
)

// VNIs gives out the VNIs of tunnels whose endpoint is on this node;
// *stitch.Stitcher does. An id that has a VNI gets the same.
type VNIs interface {
	ReserveVNI(id string, t stitch.Tunnel, want uint32) (uint32, error)
	ReleaseVNI(id string)
}

// Underlay is the node's way to others that is not encrypted.
type Underlay interface {
	Device() int                                // index of the tunnel device
	Local() netip.Addr                          // the node's address for tunnels
	Port() uint16                               // UDP port, here and there
	MTU(remote netip.Addr) (mtu int, err error) // of the IP packets within a tunnel
}

// Offer is what another node needs to know to encrypt for this one.
type Offer struct {
	Port      uint16
	PublicKey string
}

// Peer is another node that encrypts.
type Peer struct {
	Addr      netip.Addr
	Port      uint16
	PublicKey string
	Offered   string // this node's public key that the other one is told
}

// Path is the way to a peer.
type Path struct {
	Device        int
	Local, Remote netip.Addr // within the encryption
	// Former are addresses besides Remote that the peer may still send from.
	Former []netip.Addr
	MTU    int
}

// Encrypted is the node's way to others that is. Join is idempotent, and for an
// id that has joined before replaces its peer. Leave of an unknown id is no error.
type Encrypted interface {
	Offer() (Offer, error)
	Join(ctx context.Context, id string, peer Peer) (Path, error)
	Leave(id string) error
}

// Config of both elements.
type Config struct {
	// Underlay is nil on a node without tunnels, which then refuses them.
	Underlay Underlay
	VNIs     VNIs
	// Encrypted is nil where encryption is not wanted.
	Encrypted Encrypted
	// Policy of network services that have none.
	Policy Policy
}

// ClientTunnel returns the way to the client's node, nil when the client is on
// this one.
func ClientTunnel(ctx context.Context) *stitch.Tunnel { return load(ctx, false).tunnel }

// EndpointTunnel returns the way to the endpoint's node, nil when the endpoint is
// on this one, or has not answered yet.
func EndpointTunnel(ctx context.Context) *stitch.Tunnel { return load(ctx, true).tunnel }

// ClientFormer and EndpointFormer return the addresses besides the tunnel's that
// the other node may still send from.
func ClientFormer(ctx context.Context) []netip.Addr { return load(ctx, false).former }

// EndpointFormer is ClientFormer for the endpoint's node.
func EndpointFormer(ctx context.Context) []netip.Addr { return load(ctx, true).former }

type key struct{}

// state is what is known of one side of a connection. It is replaced, not
// changed.
type state struct {
	tunnel *stitch.Tunnel
	former []netip.Addr
	params *params // as agreed
	mtu    int
}

func load(ctx context.Context, client bool) state {
	value, _ := metadata.Map(ctx, client).Load(key{})
	s, _ := value.(state)
	return s
}

func store(ctx context.Context, client bool, s state) { metadata.Map(ctx, client).Store(key{}, s) }

func remove(ctx context.Context, client bool) { metadata.Map(ctx, client).Delete(key{}) }

func restore(ctx context.Context, client bool, s state) {
	if s.params == nil {
		remove(ctx, client)
		return
	}
	store(ctx, client, s)
}
