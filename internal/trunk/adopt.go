// SPDX-License-Identifier: Apache-2.0

package trunk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// adopt finds the interfaces of an earlier process. The data path knows their
// VLANs, their aliases tell whose they are.
func (t *Trunk) adopt() error {
	if t.opts.PinDir == "" {
		return nil
	}
	links, err := t.host.Links()
	if err != nil {
		return err
	}
	byIndex := map[int]nl.Link{}
	for _, l := range links {
		byIndex[l.Index] = l
	}
	var errs []error
	for _, p := range t.plane.Ports() {
		outer := byIndex[p.IfIndex]
		k, ok := parse(outer)
		if !ok { // gone, and its number may be another's by now
			errs = append(errs, t.plane.Delete(p.IfIndex))
			continue
		}
		base := byIndex[p.Base]
		t.entries[k] = &entry{
			key: k, adopted: true, outer: outer.Index, inner: outer.PeerIndex, mac: p.MAC,
			base: base.Name, baseIndex: p.Base, vlan: p.VLAN, filters: wanted(p.MAC, nil),
		}
		if base.Name != "" {
			t.bases[base.Name] = base
		}
	}
	if len(t.entries) > 0 {
		t.log.Info("adopted VLAN interfaces", "interfaces", len(t.entries))
	}
	return errors.Join(errs...)
}

// parse tells whose an outer end of ours is.
func parse(l nl.Link) (key, bool) {
	rest, ok := strings.CutPrefix(l.Alias, alias)
	if !ok || l.Kind != "veth" || !strings.HasPrefix(l.Name, outerPrefix) {
		return key{}, false
	}
	digits, name, ok := strings.Cut(rest, "/")
	cookie, err := strconv.ParseUint(digits, 10, 64)
	return key{cookie, name}, ok && err == nil && name != ""
}

// recover reads what an adopted interface has: all of it is ours.
func (t *Trunk) recover(inside *nl.Handle, e *entry) error {
	if !e.adopted {
		return nil
	}
	addresses, err := inside.Addresses(e.inner)
	if err != nil {
		return err
	}
	e.addresses = nil
	for _, a := range addresses {
		if !a.Addr().IsLinkLocalUnicast() {
			e.addresses = append(e.addresses, a)
		}
	}
	e.filters = wanted(e.mac, e.addresses)
	return nil
}

func (t *Trunk) collectLater(ctx context.Context) {
	if t.opts.PinDir == "" {
		return
	}
	t.work.Go(func() {
		timer := time.NewTimer(t.opts.Grace)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
			if err := t.Collect(); err != nil {
				t.log.Error("collect VLAN interfaces that nobody claims", "err", err)
			}
		}
	})
}

// Collect removes adopted interfaces that no Connect has claimed, and those that
// an earlier process had not yet made known to the data path.
func (t *Trunk) Collect() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	var errs []error
	for _, e := range slices.Collect(maps.Values(t.entries)) {
		if e.adopted {
			errs = append(errs, t.remove(e))
		}
	}
	strays, err := t.strays()
	errs = append(errs, err)
	for _, l := range strays {
		if err := t.host.DeleteLink(l.Index); !errors.Is(err, nl.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// strays are interfaces of ours that belong to no entry. The caller holds mu.
func (t *Trunk) strays() (found []nl.Link, err error) {
	links, err := t.host.Links()
	for _, l := range links {
		if k, ok := parse(l); ok && (t.entries[k] == nil || t.entries[k].outer != l.Index) {
			found = append(found, l)
		}
	}
	return found, err
}

// event follows base interfaces and outer ends.
func (t *Trunk) event(ev nl.LinkEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if ev.Gone {
		for _, e := range slices.Collect(maps.Values(t.entries)) {
			if e.outer == ev.Link.Index { // its namespace has ended, or it was removed from within
				t.gone[e.key] = gone{e.id, e.mac}
				t.report("forget "+e.key.name, t.forget(e))
			}
		}
		return
	}
	known, ok := t.bases[ev.Link.Name]
	if !ok || known.Index == ev.Link.Index && known.Carrier == ev.Link.Carrier {
		return
	}
	t.bases[ev.Link.Name] = ev.Link
	for _, e := range t.entries {
		if e.base != ev.Link.Name {
			continue
		}
		if e.baseIndex == ev.Link.Index {
			t.report("follow the carrier of "+e.base, t.carry(e, ev.Link))
			continue
		}
		e.filters = nil // they went with the interface that had the name before
		t.report("join "+e.key.name+" with the new "+e.base, t.join(e, e.base, e.vlan, ev.Link, e.addresses))
	}
}

func (t *Trunk) report(what string, err error) {
	if err != nil && !errors.Is(err, nl.ErrNotFound) {
		t.log.Warn("cannot "+what, "err", err)
	}
}

// Difference is something that is not as it should be.
type Difference struct {
	Conn, Interface, Problem string
	Stray, Repaired          bool
}

// Check compares the kernel with what is wanted, and with repair makes it so.
// What is inside of frontends' namespaces, the next refresh of the connection sees
// to.
func (t *Trunk) Check(repair bool) (found []Difference, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	var errs []error
	lost, repaired := t.plane.LostPins(), false
	if repair {
		err := t.plane.Repin()
		errs, repaired = append(errs, err), err == nil
	}
	for _, path := range lost {
		found = append(found, Difference{Interface: path, Problem: "the pin has vanished: a restarted forwarder would not find what it belongs to", Repaired: repaired})
	}
	for _, e := range t.entries {
		problem := t.problem(e)
		if problem == "" {
			continue
		}
		d := Difference{Conn: e.id, Interface: e.key.name, Problem: problem}
		if base, ok := t.bases[e.base]; repair && ok {
			err := t.join(e, e.base, e.vlan, base, e.addresses)
			errs, d.Repaired = append(errs, err), err == nil
		}
		found = append(found, d)
	}
	strays, err := t.strays()
	errs = append(errs, err)
	for _, l := range strays {
		d := Difference{Interface: l.Name, Stray: true, Problem: "belongs to no connection: " + l.Alias}
		if repair {
			err := t.host.DeleteLink(l.Index)
			errs, d.Repaired = append(errs, err), err == nil
		}
		found = append(found, d)
	}
	return found, errors.Join(errs...)
}

func (t *Trunk) problem(e *entry) string {
	base, err := t.host.LinkByName(e.base)
	if err != nil {
		return fmt.Sprintf("its base interface %s is not there", e.base)
	}
	outer, err := t.host.LinkByIndex(e.outer)
	switch {
	case err != nil:
		return "its outer end is not there"
	case !t.plane.Attached(base.Index):
		return fmt.Sprintf("the VLAN program is not attached to %s", e.base)
	case outer.Up != base.Carrier:
		return fmt.Sprintf("its outer end is up: %t, the carrier of %s: %t", outer.Up, e.base, base.Carrier)
	}
	return ""
}
