// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Path is where packets come from: the source and the interface on a single hop,
// the source and the destination over several (RFC 5881, 3; RFC 5883, 3).
type Path struct {
	Remote   netip.Addr // without a zone
	Local    netip.Addr // of several hops
	Link     int        // index of the interface, of a single hop
	Multihop bool
}

// Table finds the session that a packet belongs to.
type Table struct {
	random func() uint64
	ours   map[uint32]entry
	paths  map[Path]*Session
	// Discarded counts packets by reason, also those of no session.
	Discarded [Reasons]uint64
	packet    Packet
}

type entry struct {
	session *Session
	path    Path
}

// NewTable makes an empty one.
func NewTable(random func() uint64) *Table {
	return &Table{random: random, ours: map[uint32]entry{}, paths: map[Path]*Session{}}
}

// Add makes a session for a path, with a discriminator of its own.
func (t *Table) Add(path Path, cfg Config, now time.Time) (*Session, error) {
	if t.paths[path] != nil {
		return nil, fmt.Errorf("a second session with %s on the same path", path.Remote)
	}
	discriminator := uint32(0)
	for discriminator == 0 || t.ours[discriminator].session != nil {
		discriminator = uint32(t.random())
	}
	s, err := NewSession(cfg, discriminator, now, t.random)
	if err != nil {
		return nil, err
	}
	t.ours[discriminator] = entry{s, path}
	t.paths[path] = s
	return s, nil
}

// Move changes the path of a session: an interface has another index.
func (t *Table) Move(s *Session, path Path) error {
	if other := t.paths[path]; other != nil && other != s {
		return fmt.Errorf("a second session with %s on the same path", path.Remote)
	}
	delete(t.paths, t.ours[s.localDiscr].path)
	t.ours[s.localDiscr] = entry{s, path}
	t.paths[path] = s
	return nil
}

// Remove forgets a session.
func (t *Table) Remove(s *Session) {
	delete(t.paths, t.ours[s.localDiscr].path)
	delete(t.ours, s.localDiscr)
}

// Receive decodes a packet, finds its session and lets it receive. The session
// is nil where there is none. A sender on the session's link may change its
// address: the discriminator alone decides (6.3).
func (t *Table) Receive(raw []byte, path Path, now time.Time) (*Session, Reason) {
	s, reason := t.receive(raw, path, now)
	if reason != Accepted {
		t.Discarded[reason]++
	}
	return s, reason
}

func (t *Table) receive(raw []byte, path Path, now time.Time) (*Session, Reason) {
	p := &t.packet
	if reason := p.Decode(raw); reason != Accepted {
		if s := t.paths[path]; s != nil {
			return s, s.Discard(reason)
		}
		return nil, reason
	}
	var s *Session
	if p.YourDiscriminator != 0 {
		found := t.ours[p.YourDiscriminator]
		if s = found.session; s == nil {
			return nil, UnknownDiscriminator
		}
		if found.path.Link != path.Link || found.path.Multihop != path.Multihop || found.path.Remote.Is4() != path.Remote.Is4() {
			return s, s.Discard(WrongLink)
		}
	} else {
		if s = t.paths[path]; s == nil {
			return nil, UnknownSource
		}
		if p.State != Down && p.State != AdminDown {
			return s, s.Discard(ZeroYours)
		}
	}
	return s, s.Receive(p, raw, now)
}
