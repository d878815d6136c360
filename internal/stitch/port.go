// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// Every interface carries as alias what it belongs to.
const (
	clientAlias   = "weft:client:"   // + namespace cookie / interface
	endpointAlias = "weft:endpoint:" // + leg id
)

// portKey is a workload's interface: namespace cookie and name, or the leg whose
// client is on another node.
type portKey struct {
	cookie uint64
	name   string
	far    owner
}

// port is a client port and its legs. What follows turn is guarded
// by it, but for pending.
type port struct {
	key  portKey
	turn chan struct{} // holds one token while the port is in use

	pending atomic.Bool // a refresh is about to run

	dead    bool // removed from the Stitcher: look it up again
	client  end
	carrier bool // of the client's outer end
	legs    map[string]*leg
	set     []xconnect.Leg // as written last
	// inherited is what an adopted client interface had. While legs are adopted,
	// nobody knows which of it they want.
	inherited *config
}

// end is a pair of ends: outer is 0 while the interface does not exist. Or it is
// on another node.
type end struct {
	tunnel    *Tunnel  // to the other node; of in only the MAC counts
	next      *Tunnel  // takes its place when the other node has said that it is ready
	old       []Tunnel // the other node may still send by them, until the next Connect
	adopted   bool     // found, not made; in.ours is not known before it is read
	outer     int
	outerName string
	in        inner
	downs     uint32 // how often the outer end had lost carrier
	// configured is false when the routes wait for the link.
	configured bool
}

// leg is a leg of a port.
type leg struct {
	want      Leg
	endpoint  end
	carrier   bool // of the endpoint's outer end
	up        bool // the outer end is administratively up
	withdrawn bool
	lost      bool  // its endpoint does not answer
	vacated   bool  // its addresses are off the client's interface
	adopted   bool  // want is not known but for its ID
	owner     owner // of an adopted tunnel, whose leg's ID is not known
}

func newPort(key portKey) *port {
	return &port{key: key, turn: make(chan struct{}, 1), legs: map[string]*leg{}}
}

func (p *port) lock(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for interface %s: %w", p, ctx.Err())
	}
}

func (p *port) unlock() { <-p.turn }

// ids returns the legs' ids in the order that decides conflicts.
func (p *port) ids() []string { return slices.Sorted(maps.Keys(p.legs)) }

// want returns what the legs want of the client's interface.
func (p *port) want() config {
	sides := make([]Side, 0, len(p.legs))
	for _, id := range p.ids() {
		l := p.legs[id]
		if l.adopted {
			continue
		}
		side := l.want.Client
		if l.vacated {
			side.Addresses = slices.DeleteFunc(slices.Clone(side.Addresses), side.leases)
		}
		sides = append(sides, side)
	}
	c := union(sides)
	if p.inherited != nil {
		c.inherit(*p.inherited)
	}
	c.routes.onlyFrom(c.addresses)
	return c
}

func (p *port) String() string {
	if t := p.client.tunnel; t != nil {
		return fmt.Sprintf("VNI %d of %s", t.VNI, t.Remote)
	}
	return p.key.name
}

// inherits says that there are legs of which only the traces are known.
func (p *port) inherits() bool {
	for _, l := range p.legs {
		if l.adopted {
			return true
		}
	}
	return false
}

// exists says that frames can be sent to the end.
func (e *end) exists() bool { return e.outer != 0 || e.tunnel != nil }

// live returns the legs for frames of the client: those whose endpoint is up, and
// of them those that are not lost, as long as there is one. The only leg is used in any case; there is no better one.
func (p *port) live() []xconnect.Leg {
	var usable, up, live []xconnect.Leg
	for _, id := range p.ids() {
		l := p.legs[id]
		if l.withdrawn || !l.endpoint.exists() {
			continue
		}
		way := xconnect.Leg{IfIndex: l.endpoint.outer, MAC: l.endpoint.in.mac, Local: l.want.Local}
		if t := l.endpoint.tunnel; t != nil {
			way.Tunnel = t.Tunnel
		}
		if way.MAC == nil { // of an adopted leg that was not in use
			way.MAC = noMAC
		}
		usable = append(usable, way)
		if l.carrier && l.endpoint.in.mac != nil {
			up = append(up, way)
			if !l.lost {
				live = append(live, way)
			}
		}
	}
	switch {
	case len(usable) == 1:
		return usable
	case len(live) == 0:
		return up
	}
	return live
}

// The names of outer ends begin with it.
const (
	clientPrefix   = "wc-"
	endpointPrefix = "we-"
)

func outerPrefix(name string) bool {
	return strings.HasPrefix(name, clientPrefix) || strings.HasPrefix(name, endpointPrefix)
}

// outerName names an outer end by what it belongs to: a restarted process
// finds it again, and two processes do not collide.
func outerName(prefix string, cookie uint64, parts ...string) string {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%d %q", cookie, parts) // never fails
	return prefix + hex.EncodeToString(hash.Sum(nil)[:5])
}

// openSide opens a netlink handle in a side's namespace.
func openSide(side Side) (*nl.Handle, uint64, error) {
	h, err := nl.Open(side.NetNS)
	if errors.Is(err, netns.ErrNotFound) {
		return nil, 0, fmt.Errorf("%s: %w: %w", side.NetNS, ErrNoNamespace, err)
	}
	if err != nil {
		return nil, 0, err
	}
	cookie, err := h.Cookie()
	if err != nil {
		return nil, 0, errors.Join(err, h.Close())
	}
	return h, cookie, nil
}

// veth makes the interface of a side, its outer end in the node's namespace.
// What an earlier process has left under the outer end's name is ours and is
// replaced.
func (s *Stitcher) veth(t *tx, host *nl.Handle, e *end, v nl.Veth) error {
	var link, peer nl.Link
	add := func() (err error) {
		link, peer, err = host.AddVeth(v)
		if errors.Is(err, nl.ErrExists) {
			if old, lookup := host.LinkByName(v.Name); lookup == nil && s.ownerOf(old.Index) == nil {
				if err := host.DeleteLink(old.Index); err != nil {
					return err
				}
				link, peer, err = host.AddVeth(v)
			}
		}
		if errors.Is(err, nl.ErrExists) {
			return fmt.Errorf("%s: %w", v.PeerName, ErrInterfaceTaken)
		}
		return err
	}
	restore(t, e)
	err := t.must("add veth", add, func() error { return host.DeleteLink(link.Index) })
	if err != nil {
		return err
	}
	*e = end{outer: link.Index, outerName: v.Name, in: e.in}
	e.in.lead(v.PeerNetNS)
	e.in.name, e.in.index, e.in.mac = v.PeerName, peer.Index, peer.MAC
	e.in.ours = config{mtu: peer.MTU}
	return t.must("attach program",
		func() error { return s.xc.Attach(link.Index) },
		func() error { return s.xc.Delete(link.Index) })
}

// configure brings an inner end to what is wanted. fresh says that it has
// been made just now, in state up.
func (s *Stitcher) configure(t *tx, h *nl.Handle, e *end, want config, fresh, up bool) error {
	if err := s.recover(h, e); err != nil {
		return err
	}
	is := reality{up: up, mtu: e.in.ours.mtu}
	if !fresh {
		var err error
		if is, err = e.in.read(h); err != nil {
			return err
		}
	}
	restore(t, &e.configured)
	a := applier{
		tx: t, h: h, in: &e.in, is: is, want: want,
		tables: &tableLease{set: &s.tables, cookie: e.in.cookie}, legs: &s.endpointLegs,
	}
	if err := a.apply(); err != nil {
		return err
	}
	e.configured = is.up
	return nil
}

// setMTU gives both ends the same MTU; the larger end first forwards what the
// smaller sends.
func (t *tx) setMTU(host, inside *nl.Handle, e *end, mtu int) error {
	set := func(h *nl.Handle, index int) error {
		old, err := h.LinkByIndex(index)
		if errors.Is(err, nl.ErrNotFound) {
			return nil // gone, and the event is still to come
		}
		if err != nil || old.MTU == mtu {
			return err
		}
		return t.must(fmt.Sprintf("set MTU %d", mtu), func() error { return h.SetMTU(index, mtu) },
			func() error { return h.SetMTU(index, old.MTU) })
	}
	outer := func() error { return set(host, e.outer) }
	within := func() error { return set(inside, e.in.index) }
	first, second := within, outer
	if mtu > e.in.ours.mtu {
		first, second = outer, within
	}
	if err := first(); err != nil {
		return err
	}
	return second()
}

// writeSet writes the client port's legs if they have changed.
func (s *Stitcher) writeSet(t *tx, p *port) error {
	if p.client.outer == 0 {
		return nil
	}
	live, old := p.live(), p.set
	if slices.EqualFunc(live, old, sameLeg) {
		return nil
	}
	restore(t, &p.set)
	client := p.client.outer
	err := t.must("write legs",
		func() error { return s.xc.SetClient(client, live) },
		func() error { return s.xc.SetClient(client, old) })
	if err != nil {
		return err
	}
	p.set = live
	return nil
}

func sameLeg(a, b xconnect.Leg) bool {
	return a.IfIndex == b.IfIndex && a.Tunnel == b.Tunnel && a.Local == b.Local && string(a.MAC) == string(b.MAC)
}
