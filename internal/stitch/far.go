// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"

	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// owner is what the kernel's tunnel entry knows of a leg.
type owner [16]byte

func ownerOf(id string) owner {
	sum := sha256.Sum256([]byte(id))
	return owner(sum[:len(owner{})])
}

// String is the ID of an adopted leg until Connect tells the real one.
func (o owner) String() string { return "owner:" + hex.EncodeToString(o[:]) }

// far is a tunnel in use; without port it is only reserved.
type far struct {
	owner owner
	port  *port
}

// noMAC stands for that of an endpoint that does not tell it; its client's only
// leg needs none.
var noMAC = make(net.HardwareAddr, 6)

// join makes a tunnel the leg's and follows its far end.
func (s *Stitcher) join(t *tx, tunnel Tunnel, p *port, leg owner) error {
	key := tunnel.Key()
	s.mu.Lock()
	present := s.far[key]
	if present != nil && present.owner != leg || present != nil && present.port != nil && present.port != p {
		s.mu.Unlock()
		return fmt.Errorf("VNI %d of %s: %w", key.VNI, key.Remote, ErrTunnelTaken)
	}
	s.far[key] = &far{owner: leg, port: p}
	s.mu.Unlock()
	s.remotes.Join(tunnel)
	if present != nil && present.port != nil {
		return nil
	}
	t.revert(func() error {
		s.mu.Lock()
		if present == nil {
			delete(s.far, key)
		} else {
			s.far[key] = present
		}
		s.mu.Unlock()
		s.remotes.Leave(tunnel)
		return s.xc.DeleteTunnel(tunnel.Tunnel)
	})
	return nil
}

// leave forgets the tunnel of an end.
func (s *Stitcher) leave(e *end) error {
	tunnel := *e.tunnel
	e.tunnel = nil
	s.mu.Lock()
	delete(s.far, tunnel.Key())
	s.mu.Unlock()
	s.remotes.Leave(tunnel)
	return s.xc.DeleteTunnel(tunnel.Tunnel)
}

// RemoteChanged looks at the far end of a tunnel again.
func (s *Stitcher) RemoteChanged(t xconnect.Tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.far[t.Key()]; f != nil && f.port != nil {
		s.wake(f.port)
	}
}

// farCarrier returns the carrier of an end on another node. Before the first
// answer an adopted end is as it was left; one that will tell is down.
func (s *Stitcher) farCarrier(e *end) bool {
	up, known := s.remotes.Carrier(*e.tunnel)
	if known {
		return up
	}
	return e.adopted || !e.tunnel.Signals
}

// tell signals the carrier of the ends here to those on other nodes.
func (s *Stitcher) tell(p *port) {
	up := false
	for _, l := range p.legs {
		up = up || l.carrier && !l.withdrawn
		if t := l.endpoint.tunnel; t != nil {
			s.remotes.SetCarrier(*t, p.carrier && !l.withdrawn)
		}
	}
	if t := p.client.tunnel; t != nil {
		s.remotes.SetCarrier(*t, up)
	}
}

// farClient makes a port of a client on another node.
func (c *connecting) farClient(t Tunnel) error {
	p := c.p
	if err := c.s.join(c.tx, t, p, c.owner); err != nil {
		return err
	}
	restore(c.tx, &p.client)
	restore(c.tx, &p.carrier)
	p.client.tunnel = &t
	p.carrier = c.s.farCarrier(&p.client)
	return nil
}

// farEndpoint leads a leg to an endpoint on another node.
func (c *connecting) farEndpoint(l *leg, t Tunnel) error {
	if l.endpoint.tunnel == nil || l.endpoint.tunnel.Key() != t.Key() {
		c.replace(l)
		l.endpoint, l.up = end{}, false
	}
	if err := c.s.join(c.tx, t, c.p, c.owner); err != nil {
		return err
	}
	l.endpoint.tunnel, l.endpoint.in.mac = &t, l.want.Endpoint.MAC
	if l.endpoint.in.mac == nil {
		l.endpoint.in.mac = noMAC
	}
	return c.pointFar(l)
}

// pointFar makes the frames of a leg's tunnel lead to its end here, and those of
// an endpoint here into the tunnel to its client.
func (c *connecting) pointFar(l *leg) error {
	p := c.p
	if t := p.client.tunnel; t != nil {
		outer := l.endpoint.outer
		if err := c.tx.must("write endpoint port",
			func() error { return c.s.xc.SetEndpointBehind(outer, t.Tunnel) }, nil); err != nil {
			return err
		}
		return c.tx.must("write tunnel", func() error {
			return c.s.xc.SetTunnel(t.Tunnel, xconnect.TunnelPort{IfIndex: outer, Owner: c.ownerOf(l)})
		}, nil)
	}
	if p.client.outer == 0 {
		return nil // written when the interface is there again
	}
	to := xconnect.TunnelPort{IfIndex: p.client.outer, Mark: p.client.in.mark(), Owner: c.ownerOf(l)}
	return c.tx.must("write tunnel", func() error { return c.s.xc.SetTunnel(l.endpoint.tunnel.Tunnel, to) }, nil)
}

// ownerOf returns the owner of a leg of the port, the adopted ones included.
func (c *connecting) ownerOf(l *leg) owner {
	if l.owner != (owner{}) {
		return l.owner
	}
	return ownerOf(l.want.ID)
}
