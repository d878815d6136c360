// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"net/netip"
	"time"
)

// DefaultGracefulRestart is how long gateways keep the routes of a frontend that
// is restarting (RFC 4724).
const DefaultGracefulRestart = 60 * time.Second

// Config is what a frontend is to do. It is a snapshot that replaces the one
// before as a whole; only what differs changes, the rest is not touched.
type Config struct {
	Replica   string // name of the endpoint, for messages
	Interface string // external interface, in the frontend's namespace
	// Table is the routing table of its own, never one of the kernel's (253 to
	// 255).
	Table int
	// RouterID of BGP, an IPv4 address by form only; derived from Replica when
	// zero.
	RouterID netip.Addr
	Gateways []Gateway // sorted by name
	// VIPs are all of the attractor: packets that the namespace's own stack
	// sends from them go by Table or nowhere.
	VIPs []netip.Prefix
	// Announce are those of VIPs whose traffic is proven to be forwarded now.
	Announce []netip.Prefix
	// GracefulRestart is what BGP gateways are asked to keep routes for; 0 = do
	// not ask.
	GracefulRestart time.Duration
}

// Gateway is a router outside. Without BGP it is static: the default route of its
// address family leads to it while it is up.
type Gateway struct {
	Name    string
	Address netip.Addr
	BGP     *BGP
	BFD     *BFD // nil: not watched; a static gateway then always counts as up
}

// BGP is a session with a gateway. It carries both families when both have an
// address on the interface; IPv4 routes have an IPv6 next hop (RFC 8950) when the
// session is over IPv6 and ExtendedNextHop is set.
type BGP struct {
	LocalASN, RemoteASN   uint32
	HoldTime              time.Duration
	LocalPort, RemotePort uint16 // where we listen, and where the gateway does
	Password              string // RFC 2385; "": none
	// TTLSecurity is how many hops away the gateway may be by the TTL of its
	// packets (RFC 5082); 0 = not looked at, 1 = on the link.
	TTLSecurity uint8
	// Multihop is the TTL of our packets to an external gateway; 0 = 1.
	Multihop        uint8
	ExtendedNextHop bool
	// Strict: no session before BFD is up.
	Strict bool
}

// AuthType is how BFD packets are authenticated (RFC 5880, 4.3 and 4.4).
type AuthType string

// Authentication of BFD.
const (
	AuthNone           AuthType = ""
	AuthSHA1           AuthType = "keyed-sha1"
	AuthMeticulousSHA1 AuthType = "meticulous-keyed-sha1"
)

// BFD is a session that watches a gateway.
type BFD struct {
	MinTx, MinRx time.Duration
	Multiplier   uint8
	Multihop     bool // RFC 5883
	Auth         AuthType
	AuthKeyID    uint8
	AuthKey      []byte // 1 to 20 bytes
}
