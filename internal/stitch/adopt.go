// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"strconv"
	"strings"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// adopt finds the ports and legs of an earlier process in the kernel: the
// cross-connect's entries tell how they hang together, the aliases of the
// interfaces whose they are. What they want is told by Connect; until then they
// stay as they are, and follow their links.
func (s *Stitcher) adopt() error {
	if s.opts.PinDir == "" {
		return nil
	}
	state, err := s.xc.State()
	if err != nil {
		return err
	}
	host, err := s.handles.get()
	if err != nil {
		return err
	}
	defer s.handles.put(host)
	links, err := host.Links()
	if err != nil {
		return err
	}
	a := adoption{s: s, state: state, links: map[int]nl.Link{}}
	for _, link := range links {
		if ours(link) {
			a.links[link.Index] = link
		}
	}
	if err := a.prune(); err != nil {
		return err
	}
	a.clients()
	a.endpoints()
	a.tunnels()
	if err := a.removeDoubles(host); err != nil {
		return err
	}
	if len(s.legs) > 0 {
		s.log.Info("adopted", "interfaces", len(s.ports), "legs", len(s.legs))
	}
	for _, t := range a.joined { // from here on, others may want something
		s.remotes.Join(t)
	}
	return nil
}

func ours(link nl.Link) bool {
	return link.Kind == "veth" && link.PeerIndex != 0 &&
		(strings.HasPrefix(link.Alias, clientAlias) || strings.HasPrefix(link.Alias, endpointAlias))
}

type adoption struct {
	s     *Stitcher
	state xconnect.State
	links map[int]nl.Link // outer ends of ours

	doubles []int // outer ends
	joined  []Tunnel
}

// prune removes the entries of interfaces that have gone meanwhile: their
// numbers may be given to others.
func (a *adoption) prune() error {
	var errs []error
	has := func(index int, alias string) bool {
		return strings.HasPrefix(a.links[index].Alias, alias)
	}
	for index := range a.state.Clients {
		if !has(index, clientAlias) {
			delete(a.state.Clients, index)
			errs = append(errs, a.s.xc.Delete(index))
		}
	}
	for index := range a.state.Endpoints {
		if !has(index, endpointAlias) {
			delete(a.state.Endpoints, index)
			errs = append(errs, a.s.xc.Delete(index))
		}
	}
	for key, to := range a.state.Tunnels {
		_, client := a.state.Clients[to.IfIndex]
		port, endpoint := a.state.Endpoints[to.IfIndex]
		endpoint = endpoint && port.Client == 0
		if !client && !endpoint {
			delete(a.state.Tunnels, key)
			errs = append(errs, a.s.xc.DeleteTunnel(xconnect.Tunnel{Device: key.Device, Remote: key.Remote, VNI: key.VNI}))
		}
	}
	return errors.Join(errs...)
}

func (a *adoption) clients() {
	for index, set := range a.state.Clients {
		link := a.links[index]
		cookie, name, ok := parseClient(link.Alias)
		if !ok {
			continue // not made by this version: collected with the strays
		}
		p := newPort(portKey{cookie: cookie, name: name})
		p.client = adoptedEnd(link)
		p.client.in.cookie, p.client.in.name = cookie, name
		p.carrier, p.set = link.Carrier, set
		a.add(p, index)
	}
}

func parseClient(alias string) (cookie uint64, name string, ok bool) {
	digits, name, ok := strings.Cut(strings.TrimPrefix(alias, clientAlias), "/")
	cookie, err := strconv.ParseUint(digits, 10, 64)
	return cookie, name, ok && err == nil
}

func adoptedEnd(link nl.Link) end {
	return end{
		outer: link.Index, outerName: link.Name, downs: link.CarrierDowns,
		adopted: true, configured: true, in: inner{index: link.PeerIndex},
	}
}

func (a *adoption) add(p *port, index int) {
	a.s.ports[p.key] = p
	if index != 0 {
		a.s.byIndex[index] = p
	}
}

// endpoints adopts the legs whose endpoint is on this node.
func (a *adoption) endpoints() {
	for index, port := range a.state.Endpoints {
		link := a.links[index]
		l := &leg{
			want:    Leg{ID: strings.TrimPrefix(link.Alias, endpointAlias), Local: true},
			adopted: true, endpoint: adoptedEnd(link), carrier: link.Carrier, up: link.Up,
		}
		p := a.s.byIndex[port.Client]
		if port.Client == 0 {
			p = newPort(portKey{far: ownerOf(l.want.ID)})
			p.client = end{adopted: true, tunnel: &Tunnel{Tunnel: port.Tunnel, Signals: true}}
			p.carrier = link.Up
			a.add(p, 0)
			a.follow(*p.client.tunnel, p, ownerOf(l.want.ID))
			a.s.vnis[ownerOf(l.want.ID)] = port.Tunnel.Key()
		}
		if p == nil {
			continue // its client has gone: collected with the strays
		}
		for _, way := range p.set {
			if way.IfIndex == index {
				l.endpoint.in.mac, l.want.Local = way.MAC, way.Local
			}
		}
		if old := p.legs[l.want.ID]; old != nil {
			if old.endpoint.in.mac != nil {
				l, old = old, l
			}
			a.doubles = append(a.doubles, old.endpoint.outer)
		}
		a.addLeg(p, l)
		a.s.byIndex[l.endpoint.outer] = p
	}
}

// removeDoubles removes those of two interfaces of one leg that are not in use:
// the earlier process was about to replace one by the other.
func (a *adoption) removeDoubles(host *nl.Handle) error {
	for index, link := range a.links { // made, and no more
		id := strings.TrimPrefix(link.Alias, endpointAlias)
		if id != link.Alias && a.s.byIndex[index] == nil && a.s.legs[id] != nil {
			a.doubles = append(a.doubles, index)
		}
	}
	var errs []error
	for _, index := range a.doubles {
		delete(a.s.byIndex, index)
		if err := host.DeleteLink(index); !errors.Is(err, nl.ErrNotFound) {
			errs = append(errs, err)
		}
		errs = append(errs, a.s.xc.Delete(index))
	}
	return errors.Join(errs...)
}

// tunnels adopts the legs whose endpoint is on another node.
func (a *adoption) tunnels() {
	for key, to := range a.state.Tunnels {
		p := a.s.byIndex[to.IfIndex]
		own := owner(to.Owner)
		if p == nil {
			continue
		}
		if present := p.client.tunnel; present != nil {
			if present.Key() != key { // the client may have begun to use it
				next := Tunnel{Signals: true, Tunnel: present.Tunnel}
				next.Device, next.Remote, next.VNI = key.Device, key.Remote, key.VNI
				p.client.next = &next
				a.follow(next, p, own)
			}
			continue
		}
		t := xconnect.Tunnel{Device: key.Device, Remote: key.Remote, VNI: key.VNI}
		l := &leg{want: Leg{ID: own.String()}, adopted: true, owner: own, up: p.carrier}
		for _, way := range p.set {
			if way.IfIndex == 0 && way.Tunnel.Key() == key {
				t.Local, l.carrier = way.Tunnel.Local, true
				l.endpoint.in.mac, l.want.Local = way.MAC, way.Local
			}
		}
		l.endpoint.adopted, l.endpoint.tunnel = true, &Tunnel{Tunnel: t, Signals: true}
		a.follow(*l.endpoint.tunnel, p, own)
		if other := p.legs[l.want.ID]; other != nil { // one took the other's place
			if t.Local.IsValid() {
				l, other = other, l
			}
			other.endpoint.old = append(other.endpoint.old, *l.endpoint.tunnel)
			l = other
		}
		a.addLeg(p, l)
	}
}

func (a *adoption) addLeg(p *port, l *leg) {
	p.legs[l.want.ID] = l
	a.s.legs[l.want.ID] = p
}

func (a *adoption) follow(t Tunnel, p *port, own owner) {
	a.s.far[t.Key()] = &far{owner: own, port: p}
	a.joined = append(a.joined, t)
}

// recover reads what an adopted end has: all of it is ours.
func (s *Stitcher) recover(h *nl.Handle, e *end) error {
	if !e.adopted || e.tunnel != nil {
		return nil
	}
	in := &e.in
	link, err := h.LinkByIndex(in.index)
	if errors.Is(err, nl.ErrNotFound) {
		return nil // gone, and the event is still to come
	}
	if err != nil {
		return err
	}
	in.mac = link.MAC
	rules, err := h.Rules()
	if err != nil {
		return err
	}
	in.tables = nil
	for _, rule := range rules {
		if rule.OutInterface == in.name && rule.From.IsValid() && rule.Table >= firstTable {
			in.keepTable(rule.From, rule.Table)
			s.tables.claim(in.cookie, rule.Table)
		}
	}
	is, err := in.read(h)
	if err != nil {
		return err
	}
	in.ours = union(nil)
	in.ours.mtu, in.ours.routes, in.ours.neighbours = link.MTU, is.routes, is.neighbours
	for _, address := range is.addresses {
		if !address.Addr().IsLinkLocalUnicast() {
			in.ours.addresses = append(in.ours.addresses, address)
		}
	}
	for from, table := range in.tables {
		in.ours.policies[from] = is.tables[table].routes
	}
	e.adopted = false
	return nil
}

// recoverClient recovers a client's interface, and keeps what its adopted legs
// may want.
func (s *Stitcher) recoverClient(t *tx, h *nl.Handle, p *port) error {
	if !p.client.adopted {
		return nil
	}
	if err := s.recover(h, &p.client); err != nil {
		return err
	}
	if p.inherits() {
		restore(t, &p.inherited)
		had := p.client.in.ours
		p.inherited = &had
	}
	return nil
}
