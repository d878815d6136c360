// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// Difference is something in the kernel that is not as it should be.
type Difference struct {
	Conn      string // the leg's ID; empty when it concerns a whole interface, or no leg
	Interface string // the workload's, or the outer end's if it belongs to none
	Kind      Kind
	Problem   string
	Repaired  bool
}

// Kind is what a Difference is about.
type Kind string

// The kinds.
const (
	KindInterface Kind = "interface-missing"     // an end is gone
	KindDown      Kind = "interface-down"        // the outer end of a client is
	KindConfig    Kind = "configuration-differs" // MTU, address, route, rule or neighbour
	KindProgram   Kind = "program-missing"       // of the cross-connect, on an outer end
	KindEntry     Kind = "entry-differs"         // of the cross-connect
	KindStray     Kind = "stray"                 // belongs to no leg
	KindPin       Kind = "pin-missing"
)

// Check compares what is wanted of every port with what the kernel has. With
// repair it mends what differs, and removes what belongs to nobody. An adopted
// leg that is not claimed is no difference before its grace period has ended.
func (s *Stitcher) Check(ctx context.Context, repair bool) ([]Difference, error) {
	host, err := s.handles.get()
	if err != nil {
		return nil, err
	}
	defer s.handles.put(host)
	c := &checker{s: s, host: host, repair: repair, ctx: ctx}
	s.mu.Lock()
	ports := slices.Collect(maps.Values(s.ports))
	s.mu.Unlock()
	for _, p := range ports {
		if err := p.lock(ctx); err != nil {
			return nil, err
		}
		if !p.dead {
			err = c.port(p)
		}
		s.release(p)
		if err != nil {
			return c.found, err
		}
	}
	if err := errors.Join(c.pins(), c.strays()); err != nil {
		return c.found, err
	}
	slices.SortStableFunc(c.found, func(a, b Difference) int { return strings.Compare(a.Interface, b.Interface) })
	return c.found, nil
}

type checker struct {
	ctx    context.Context
	s      *Stitcher
	host   *nl.Handle
	repair bool
	state  xconnect.State
	found  []Difference
}

// port compares one port, and mends it if anything differs.
func (c *checker) port(p *port) (err error) {
	if c.state, err = c.s.xc.State(); err != nil {
		return err
	}
	first := len(c.found)
	if p.client.tunnel == nil {
		if err := c.end(p, &p.client, p.want(), "", !p.inherits()); err != nil {
			return err
		}
		if p.client.outer != 0 && !sameLegs(c.state.Clients[p.client.outer], p.set) {
			c.add(KindEntry, p, "", "the cross-connect's entry has other legs")
		}
	}
	for _, id := range p.ids() {
		if err := c.leg(p, p.legs[id]); err != nil {
			return err
		}
	}
	if !c.repair || len(c.found) == first {
		return nil
	}
	if err := c.mend(p); err != nil {
		return fmt.Errorf("repair %s: %w", p, err)
	}
	for i := range c.found[first:] {
		c.found[first+i].Repaired = true
	}
	return nil
}

func (c *checker) add(kind Kind, p *port, conn, problem string, args ...any) {
	c.found = append(c.found, Difference{Kind: kind, Conn: conn, Interface: p.String(), Problem: fmt.Sprintf(problem, args...)})
}

// sameLegs compares sets: the cross-connect sorts them in its own way.
func sameLegs(a, b []xconnect.Leg) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(one xconnect.Leg) bool {
		return !slices.ContainsFunc(b, func(other xconnect.Leg) bool { return sameLeg(one, other) })
	})
}

func (c *checker) leg(p *port, l *leg) error {
	id := l.want.ID
	if l.endpoint.tunnel == nil {
		if err := c.end(p, &l.endpoint, union([]Side{l.want.Endpoint}), id, !l.adopted); err != nil {
			return err
		}
	}
	switch t := l.endpoint.tunnel; {
	case t != nil:
		if to := c.state.Tunnels[t.Key()]; to.IfIndex != p.client.outer {
			c.add(KindEntry, p, id, "the tunnel with VNI %d of %s leads to interface %d", t.VNI, t.Remote, to.IfIndex)
		}
	case l.endpoint.outer == 0:
	case p.client.tunnel != nil:
		key := p.client.tunnel.Key()
		if c.state.Endpoints[l.endpoint.outer].Tunnel.Key() != key || c.state.Tunnels[key].IfIndex != l.endpoint.outer {
			c.add(KindEntry, p, id, "endpoint and tunnel with VNI %d of %s do not lead to each other", key.VNI, key.Remote)
		}
	case c.state.Endpoints[l.endpoint.outer].Client != p.client.outer:
		c.add(KindEntry, p, id, "the endpoint's frames do not lead to the client")
	}
	return nil
}

// end compares an interface here. Unless its wishes are all known, nothing is
// said of its configuration.
func (c *checker) end(p *port, e *end, want config, conn string, known bool) error {
	if e.outer == 0 {
		c.add(KindInterface, p, conn, "the interface is missing")
		return nil
	}
	link, err := c.host.LinkByIndex(e.outer)
	if errors.Is(err, nl.ErrNotFound) {
		c.add(KindInterface, p, conn, "the interface is missing")
		return nil
	}
	if err != nil {
		return err
	}
	if attached, err := c.s.xc.Attached(e.outer); err != nil {
		return err
	} else if !attached {
		c.add(KindProgram, p, conn, "%s lacks the cross-connect's program", link.Name)
	}
	if conn == "" && !link.Up {
		c.add(KindDown, p, conn, "%s is down", link.Name)
	}
	if !known {
		return nil
	}
	return c.s.within(e, func(inside *nl.Handle) error {
		t := &tx{plan: func(step string) { c.add(KindConfig, p, conn, "%s", problemOf(step)) }}
		err := t.setMTU(c.host, inside, e, want.mtu)
		if err == nil {
			err = c.s.configure(t, inside, e, want, false, false)
		}
		return t.undoAll(err)
	})
}

// problemOf says what a step would mend.
func problemOf(step string) string {
	for verb, problem := range map[string]string{"add ": "lacks ", "delete ": "should not have ", "set ": "should have "} {
		if rest, ok := strings.CutPrefix(step, verb); ok {
			return problem + rest
		}
	}
	return "needs: " + step
}

// mend brings everything of a port to what is wanted, whatever it is thought to
// be.
func (c *checker) mend(p *port) error {
	t := &tx{}
	if p.client.outer != 0 {
		if _, err := c.s.look(c.host, &p.client); err != nil {
			return err
		}
	}
	for _, l := range p.legs {
		if l.endpoint.outer != 0 {
			if _, err := c.s.look(c.host, &l.endpoint); err != nil {
				return err
			}
		}
	}
	p.set = nil
	for _, outer := range p.outers() {
		if err := c.s.xc.Attach(outer); err != nil {
			return err
		}
	}
	if p.client.outer != 0 {
		if err := c.host.SetUp(p.client.outer); err != nil {
			return err
		}
	}
	for _, id := range p.ids() {
		if l := p.legs[id]; !l.adopted {
			if err := c.again(p, l.want); err != nil {
				return fmt.Errorf("leg %s: %w", id, err)
			}
		}
	}
	return t.end(c.s.writeSet(t, p))
}

// again connects a leg of the port as it was asked for last.
func (c *checker) again(p *port, want Leg) error {
	one := c.s.connecting(want.ID)
	defer one.close()
	one.p, one.host = p, c.host
	for _, side := range []struct {
		side   *Side
		in     *inner
		handle **nl.Handle
	}{{&want.Client, &p.client.in, &one.inClient}, {&want.Endpoint, &p.legs[want.ID].endpoint.in, &one.inEndpoint}} {
		if side.side.Tunnel != nil {
			continue
		}
		h, err := side.in.enter() // the path of then may lead nowhere now
		if err != nil {
			return err
		}
		*side.handle, side.side.NetNS = h, side.in.path
	}
	one.endpointCookie = p.legs[want.ID].endpoint.in.cookie
	return one.tx.end(one.rewrite(c.ctx, want))
}

// outers returns the outer ends of the port that there are.
func (p *port) outers() []int {
	var all []int
	if p.client.outer != 0 {
		all = append(all, p.client.outer)
	}
	for _, l := range p.legs {
		if l.endpoint.outer != 0 {
			all = append(all, l.endpoint.outer)
		}
	}
	return all
}

// strays finds interfaces and entries that belong to no port.
func (c *checker) strays() error {
	links, err := c.host.Links()
	if err != nil {
		return err
	}
	if c.state, err = c.s.xc.State(); err != nil {
		return err
	}
	present := map[int]bool{}
	var strays []int
	for _, link := range links {
		present[link.Index] = true
		if ours(link) && outerPrefix(link.Name) && c.s.ownerOf(link.Index) == nil {
			strays = append(strays, link.Index)
			c.found = append(c.found, Difference{Kind: KindStray, Interface: link.Name, Problem: "belongs to no leg: " + link.Alias, Repaired: c.repair})
		}
	}
	var entries []int
	for index := range c.state.Clients {
		entries = append(entries, index)
	}
	for index := range c.state.Endpoints {
		entries = append(entries, index)
	}
	var errs []error
	for _, index := range entries {
		if present[index] || c.s.ownerOf(index) != nil {
			continue
		}
		c.found = append(c.found, Difference{Kind: KindStray, Interface: fmt.Sprint(index), Problem: "the cross-connect has an entry of an interface that is gone", Repaired: c.repair})
		if c.repair {
			errs = append(errs, c.s.xc.Delete(index))
		}
	}
	if c.repair {
		errs = append(errs, c.s.deleteLinks(strays))
	}
	return errors.Join(errs...)
}
