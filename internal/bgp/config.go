// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// What is meant by a field of Peer that is zero.
const (
	DefaultHoldTime    = 90 * time.Second
	DefaultPort        = 179
	DefaultMaxPrefixes = 1000
)

const (
	maxPassword       = 80   // TCP_MD5SIG_MAXKEYLEN
	maxGracefulSecond = 4095 // 12 bits (RFC 4724, 3)
)

// Config is what a speaker is to do. It replaces the one before as a whole; only
// what differs changes.
type Config struct {
	// RouterID is an IPv4 address by form only; no interface needs to have it. A
	// change resets every session.
	RouterID netip.Addr
	Peers    []Peer
	// Announce is all that gateways are told. It changes without a reset.
	Announce []netip.Prefix
	// GracefulRestart is how long gateways are to keep our routes when we vanish
	// (RFC 4724), in whole seconds; 0 turns graceful restart off in both roles. A
	// change takes effect at each gateway's next session.
	GracefulRestart time.Duration
}

// Peer is a gateway. MaxPrefixes, NextHop4, NextHop6 and Disabled change without
// a reset as long as the session's address families stay; all else resets this
// session, and this one only.
type Peer struct {
	Name                  string
	Address               netip.Addr // without a zone
	Interface             string     // of a link-local address
	LocalASN, RemoteASN   uint32
	HoldTime              time.Duration // whole seconds, at least 3; 0 = 90 s
	LocalPort, RemotePort uint16        // where we listen, and where the gateway does; 0 = 179
	Password              string        // RFC 2385; "" = none
	// TTLSecurity is how many hops away the gateway may be (RFC 5082); 0 = not
	// looked at, 1 = on the link.
	TTLSecurity uint8
	// Multihop is the TTL of our packets to an external gateway; 0 = 1.
	Multihop uint8
	// ExtendedNextHop: IPv4 prefixes have IPv6 next hops (RFC 8950) if the session
	// is over IPv6 and the gateway can do it, too.
	ExtendedNextHop bool
	// NextHop4 and NextHop6 are our addresses that gateways send to; zero = that
	// of the session, if it is of the family. The session carries a family that
	// has a next hop.
	NextHop4, NextHop6 netip.Addr
	MaxPrefixes        int // that are taken of it; 0 = 1,000
	// Disabled is why there is to be no session, for example "BFD is down"; "" =
	// there is to be one.
	Disabled string
}

func (p Peer) withDefaults() Peer {
	if p.HoldTime == 0 {
		p.HoldTime = DefaultHoldTime
	}
	if p.LocalPort == 0 {
		p.LocalPort = DefaultPort
	}
	if p.RemotePort == 0 {
		p.RemotePort = DefaultPort
	}
	if p.MaxPrefixes == 0 {
		p.MaxPrefixes = DefaultMaxPrefixes
	}
	return p
}

func (p Peer) internal() bool { return p.LocalASN == p.RemoteASN }

// families are whether the session is to carry IPv4 and IPv6.
func (p Peer) families() (v4, v6 bool) {
	return p.Address.Is4() || p.NextHop4.IsValid() || p.ExtendedNextHop, p.Address.Is6() || p.NextHop6.IsValid()
}

// sameSession says that no reset is needed to go from one to the other.
func (p Peer) sameSession(q Peer) bool {
	p4, p6 := p.families()
	q4, q6 := q.families()
	for _, x := range []*Peer{&p, &q} {
		x.NextHop4, x.NextHop6, x.MaxPrefixes, x.Disabled = netip.Addr{}, netip.Addr{}, 0, ""
	}
	return p == q && p4 == q4 && p6 == q6
}

// remote is the address that its packets come from.
func (p Peer) remote() netip.Addr {
	if p.Address.Is6() && p.Address.IsLinkLocalUnicast() {
		return p.Address.WithZone(p.Interface)
	}
	return p.Address
}

// normal returns the config with defaults filled in and its lists sorted, or what
// is wrong with it.
func (c Config) normal() (Config, error) {
	var problems []error
	if !c.RouterID.Is4() || c.RouterID.IsUnspecified() {
		problems = append(problems, fmt.Errorf("router id %v is not of the form of an IPv4 address other than 0.0.0.0", c.RouterID))
	}
	if c.GracefulRestart < 0 || c.GracefulRestart > maxGracefulSecond*time.Second || c.GracefulRestart%time.Second != 0 {
		problems = append(problems, fmt.Errorf("graceful restart time %v is not 0 to %d whole seconds", c.GracefulRestart, maxGracefulSecond))
	}
	c.Announce = slices.Clone(c.Announce)
	slices.SortFunc(c.Announce, netip.Prefix.Compare)
	c.Announce = slices.Compact(c.Announce)
	for _, prefix := range c.Announce {
		if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			problems = append(problems, fmt.Errorf("prefix %v to announce is not valid or has bits set behind its length", prefix))
		}
	}
	type place struct {
		address netip.Addr
		port    uint16
	}
	names, places := map[string]bool{}, map[place]string{}
	peers := make([]Peer, 0, len(c.Peers))
	for _, peer := range c.Peers {
		peer = peer.withDefaults()
		if err := peer.check(); err != nil {
			problems = append(problems, fmt.Errorf("gateway %q: %w", peer.Name, err))
			continue
		}
		at := place{peer.remote(), peer.LocalPort}
		switch other, taken := places[at]; {
		case names[peer.Name]:
			problems = append(problems, fmt.Errorf("gateway %q is there twice", peer.Name))
		case taken:
			problems = append(problems, fmt.Errorf("gateway %q: address %v is that of gateway %q on the same local port %d", peer.Name, at.address, other, at.port))
		}
		names[peer.Name], places[at] = true, peer.Name
		peers = append(peers, peer)
	}
	c.Peers = peers
	return c, errors.Join(problems...)
}

func (p Peer) check() error {
	const maxHold = 65535 * time.Second
	switch {
	case p.Name == "":
		return errors.New("name is empty")
	case !p.Address.IsValid() || p.Address.IsUnspecified() || p.Address.IsMulticast() || p.Address.Is4In6() || p.Address.Zone() != "":
		return fmt.Errorf("address %v is not the address of a gateway", p.Address)
	case p.Address.Is6() && p.Address.IsLinkLocalUnicast() && p.Interface == "":
		return fmt.Errorf("address %v is link-local, and no interface is given", p.Address)
	case p.LocalASN == 0:
		return errors.New("local AS is 0")
	case p.RemoteASN == 0:
		return errors.New("remote AS is 0")
	case p.HoldTime < 3*time.Second || p.HoldTime > maxHold || p.HoldTime%time.Second != 0:
		return fmt.Errorf("hold time %v is not 3 to 65535 whole seconds", p.HoldTime)
	case len(p.Password) > maxPassword:
		return fmt.Errorf("password of %d bytes is longer than %d", len(p.Password), maxPassword)
	case p.TTLSecurity != 0 && p.Multihop != 0:
		return errors.New("TTL security and multihop exclude each other; TTL security says by itself how many hops there may be")
	case p.NextHop4.IsValid() && !p.NextHop4.Is4():
		return fmt.Errorf("IPv4 next hop %v is not IPv4", p.NextHop4)
	case p.NextHop6.IsValid() && (!p.NextHop6.Is6() || p.NextHop6.Is4In6()):
		return fmt.Errorf("IPv6 next hop %v is not IPv6", p.NextHop6)
	case p.ExtendedNextHop && p.Address.Is4():
		return errors.New("IPv6 next hops for IPv4 need a session over IPv6")
	case p.MaxPrefixes < 0:
		return fmt.Errorf("limit of %d prefixes is negative", p.MaxPrefixes)
	}
	return nil
}
