// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/nodecheck"
)

// Kinds of what Check finds.
const (
	kindLeg       = "leg-missing"
	kindInterface = "interface-missing"
	kindMAC       = "mac-differs"
	kindAddress   = "address-missing"
	kindExtra     = "address-extra"
	kindRule      = "policy-missing"
	kindUnstored  = "not-stored"
	kindUnseen    = "namespace-unseen"
)

// repairWait bounds the wait for the legs of one attachment when it is repaired.
const repairWait = 5 * time.Second

// Check compares the attachments with their connections and with the interfaces
// in the workloads' namespaces. To repair is to request the connections anew,
// which makes everybody on their paths look at what is there.
func (m *Manager) Check(ctx context.Context, repair bool) ([]nodecheck.Finding, error) {
	var all []nodecheck.Finding
	for _, e := range m.staying() {
		before := m.compare(e)
		if len(before) > 0 && repair {
			m.repair(ctx, e)
			after := m.compare(e)
			for i := range before {
				before[i].Repaired = !slices.ContainsFunc(after, func(f nodecheck.Finding) bool {
					return f.Kind == before[i].Kind && f.Wanted == before[i].Wanted && f.Actual == before[i].Actual
				})
			}
		}
		all = append(all, before...)
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
	}
	return all, nil
}

// staying are the attachments that are not going.
func (m *Manager) staying() []*entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []*entry
	for _, e := range m.entries {
		if e.removed == "" {
			found = append(found, e)
		}
	}
	return found
}

// repair requests all legs of an attachment and waits until each was tried.
func (m *Manager) repair(ctx context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, repairWait)
	defer cancel()
	m.mu.Lock()
	legs := e.sortedLegs()
	turns := make(map[*leg]int, len(legs))
	for _, l := range legs {
		turns[l] = l.turns
		if l.requesting {
			turns[l]++ // the one under way may have looked already
		}
		l.again, l.due = true, time.Time{}
		l.rouse()
	}
	m.mu.Unlock()
	for {
		m.mu.Lock()
		busy := slices.ContainsFunc(legs, func(l *leg) bool { return !l.closing && l.turns <= turns[l] })
		changed := e.changed
		m.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-changed:
		case <-e.finished:
			return
		case <-ctx.Done():
			return
		}
	}
}

// comparison collects what differs in one attachment.
type comparison struct {
	object   string
	findings []nodecheck.Finding
}

func (c *comparison) add(kind string, severity nodecheck.Severity, wanted, recorded, actual, format string, args ...any) {
	c.findings = append(c.findings, nodecheck.Finding{
		Kind: kind, Severity: severity, Object: c.object, Wanted: wanted, Recorded: recorded, Actual: actual,
		Message: fmt.Sprintf(format, args...),
	})
}

func (m *Manager) compare(e *entry) []nodecheck.Finding {
	m.mu.Lock()
	spec, target, standing := e.spec.clone(), e.target, 0
	c := &comparison{object: "attachment " + spec.Name}
	if e.unstored != nil {
		c.add(kindUnstored, nodecheck.Warning, "stored as it is", "an older state", "", "%v", e.unstored)
	}
	var addresses, vips []netip.Prefix
	for _, l := range e.sortedLegs() {
		if l.standing {
			standing++
			addresses = append(addresses, l.connection.Addresses...)
			vips = append(vips, l.connection.VIPs...)
			continue
		}
		reason := "not connected yet"
		if l.err != nil {
			reason = l.err.Error()
		}
		c.add(kindLeg, nodecheck.Error, "leg to "+l.endpoint, "connection "+l.connection.ID, "none", "the leg to endpoint %s does not stand: %s", l.endpoint, reason)
	}
	if len(e.legs) == 0 {
		c.add(kindLeg, nodecheck.Error, "a leg to each endpoint of "+spec.NetworkService, "", "none", "%s", noEndpoint(e))
	}
	m.mu.Unlock()
	if standing > 0 {
		c.look(m.Interfaces, m.Namespaces.Path(spec.NetNS), spec.Interface, MAC(target).String(), unique(addresses), unique(vips))
	}
	return c.findings
}

// look compares with what is in the namespace.
func (c *comparison) look(interfaces Interfaces, path, name, mac string, addresses, vips []netip.Prefix) {
	actual, err := interfaces.Inspect(path, name)
	switch {
	case KindOf(err) == NotFound:
		c.add(kindInterface, nodecheck.Error, "interface "+name, "", "none", "the workload's namespace has no interface %s", name)
		return
	case err != nil:
		c.add(kindUnseen, nodecheck.Warning, "interface "+name, "", "", "%v", err)
		return
	}
	if have := actual.MAC.String(); have != mac {
		c.add(kindMAC, nodecheck.Error, mac, "", have, "interface %s has another MAC", name)
	}
	has := func(list []netip.Prefix, addr netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr() == addr })
	}
	for _, p := range addresses {
		if !has(actual.Addresses, p.Addr()) {
			c.add(kindAddress, nodecheck.Error, p.String(), p.String(), "none", "interface %s has no address %s", name, p.Addr())
		}
	}
	for _, p := range vips {
		if p.IsSingleIP() && !has(actual.Addresses, p.Addr()) {
			c.add(kindAddress, nodecheck.Error, p.String(), p.String(), "none", "interface %s has not the VIP %s", name, p.Addr())
		}
		if !slices.Contains(actual.Rules, p.Masked()) {
			c.add(kindRule, nodecheck.Error, "rule from "+p.String(), p.String(), "none", "no rule sends what VIP %s answers through interface %s", strings.TrimSuffix(p.String(), "/32"), name)
		}
	}
	for _, p := range actual.Addresses {
		if p.Addr().IsLinkLocalUnicast() || has(addresses, p.Addr()) || slices.ContainsFunc(vips, func(v netip.Prefix) bool { return v.Contains(p.Addr()) }) {
			continue
		}
		c.add(kindExtra, nodecheck.Note, "", "none", p.String(), "interface %s has an address that no connection gave it", name)
	}
}
