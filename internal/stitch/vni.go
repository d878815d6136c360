// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"encoding/binary"
	"fmt"

	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

const (
	maxVNI = 1<<24 - 1
	// controlVNI carries the forwarders' own frames.
	controlVNI = 0xff_fffe
)

// vniSet holds the tunnel that an owner has or has reserved as the node of its
// endpoint.
type vniSet map[owner]xconnect.TunnelKey

// ReserveVNI returns the VNI of a connection's tunnel, t without VNI: the one
// that the connection has already, also from an earlier process; else want,
// unless it is 0; else a free one. It is kept until ReleaseVNI or Disconnect.
//
// Both nodes of a tunnel may choose for connections of the other. Like upstream's
// forwarders, the one with the greater address chooses among the even numbers,
// the other among the odd ones; so they cannot choose the same.
func (s *Stitcher) ReserveVNI(id string, t Tunnel, want uint32) (uint32, error) {
	own := ownerOf(id)
	key := t.Key()
	s.mu.Lock()
	defer s.mu.Unlock()
	if has, ok := s.vnis[own]; ok && has.Device == key.Device && has.Remote == key.Remote && (want == 0 || want == has.VNI) {
		return has.VNI, nil
	}
	if want != 0 {
		key.VNI = want
		if want > maxVNI || want == controlVNI {
			return 0, fmt.Errorf("VNI %d: %w", want, ErrNoVNI)
		}
		if f := s.far[key]; f != nil && f.owner != own {
			return 0, fmt.Errorf("VNI %d of %s: %w", want, key.Remote, ErrTunnelTaken)
		}
		s.reserve(own, key)
		return want, nil
	}
	odd := uint32(1)
	if t.Remote.Compare(t.Local) <= 0 {
		odd = 0
	}
	first := binary.BigEndian.Uint32(own[:4])&maxVNI&^1 | odd
	for vni := first; ; {
		key.VNI = vni
		if vni != 0 && vni != controlVNI && s.far[key] == nil {
			s.reserve(own, key)
			return vni, nil
		}
		if vni = (vni + 2) & maxVNI; vni == first {
			return 0, fmt.Errorf("tunnels to %s: %w", key.Remote, ErrNoVNI)
		}
	}
}

// reserve gives a tunnel to an owner, who loses one that is not in use. The
// caller holds the lock.
func (s *Stitcher) reserve(own owner, key xconnect.TunnelKey) {
	s.unreserve(own)
	if s.far[key] == nil {
		s.far[key] = &far{owner: own}
	}
	s.vnis[own] = key
}

func (s *Stitcher) unreserve(own owner) {
	if old, ok := s.vnis[own]; ok {
		if f := s.far[old]; f != nil && f.owner == own && f.port == nil {
			delete(s.far, old)
		}
		delete(s.vnis, own)
	}
}

// ReleaseVNI frees the VNI of a connection that has no leg. The others, and
// unknown ones, are no error.
func (s *Stitcher) ReleaseVNI(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.legs[id] == nil {
		s.unreserve(ownerOf(id))
	}
}
