// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// rulePriority is that of the rules for VIPs: after the kernel's local table,
	// before those for workloads (3000 and later) and the main table.
	rulePriority = 2000
	routeMetric  = 100
	// blackholeMetric is worse than any other route's.
	blackholeMetric = math.MaxUint32 - 1
)

var (
	default4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// table is a frontend's routing table in the kernel. What is in it and of
// protocol nl.Protocol is the frontend's, also if a process before this one made
// it; all else there is not touched.
type table struct {
	h         *nl.Handle
	number    int
	installed map[netip.Prefix]nl.Route
	failures  map[netip.Prefix]error
	version   uint64 // counts changes
}

func openTable(number int) (*table, error) {
	h, err := nl.Open("")
	if err != nil {
		return nil, err
	}
	return &table{h: h, number: number, installed: map[netip.Prefix]nl.Route{}, failures: map[netip.Prefix]error{}}, nil
}

func blackholes(number int) (routes []nl.Route) {
	for _, all := range []netip.Prefix{default4, default6} {
		routes = append(routes, nl.Route{Prefix: all, Table: number, Blackhole: true, Metric: blackholeMetric})
	}
	return routes
}

// route makes next hops a route.
func (t *table) route(prefix netip.Prefix, hops []nl.NextHop) nl.Route {
	r := nl.Route{Prefix: prefix, Table: t.number, Metric: routeMetric}
	if len(hops) == 1 {
		r.Index, r.Gateway, r.OnLink = hops[0].Index, hops[0].Gateway, hops[0].OnLink
		return r
	}
	r.Multipath = hops
	return r
}

func hopsOf(r nl.Route) []nl.NextHop {
	if len(r.Multipath) > 0 {
		return r.Multipath
	}
	return []nl.NextHop{{Index: r.Index, Gateway: r.Gateway, OnLink: r.OnLink, Weight: 1}}
}

func sortHops(hops []nl.NextHop) []nl.NextHop {
	slices.SortFunc(hops, func(a, b nl.NextHop) int {
		return cmp.Or(a.Gateway.Compare(b.Gateway), cmp.Compare(a.Index, b.Index))
	})
	return slices.CompactFunc(hops, func(a, b nl.NextHop) bool { return a.Gateway == b.Gateway && a.Index == b.Index })
}

// set makes the next hops of prefixes those wanted; none removes the route.
func (t *table) set(wanted map[netip.Prefix][]nl.NextHop) {
	var changes []nl.RouteChange
	for prefix, hops := range wanted {
		is, there := t.installed[prefix]
		switch {
		case len(hops) == 0 && there:
			changes = append(changes, nl.RouteChange{Op: nl.RouteDelete, Route: is})
		case len(hops) == 0:
			delete(t.failures, prefix)
		default:
			want := t.route(prefix, hops)
			if there && reflect.DeepEqual(is, want) {
				continue
			}
			op := nl.RouteAdd
			if there {
				op = nl.RouteReplace
			}
			changes = append(changes, nl.RouteChange{Op: op, Route: want})
		}
	}
	if len(changes) == 0 {
		return
	}
	// What leads to a gateway that is down goes first, and the default routes
	// before all others: most packets take them.
	slices.SortFunc(changes, func(a, b nl.RouteChange) int {
		return cmp.Or(cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), a.Prefix.Compare(b.Prefix))
	})
	t.version++
	for i, err := range t.h.ChangeRoutes(changes) {
		t.done(changes[i], err)
	}
}

func (t *table) done(c nl.RouteChange, err error) {
	switch {
	case c.Op == nl.RouteDelete && (err == nil || errors.Is(err, nl.ErrNotFound)):
		delete(t.installed, c.Prefix)
	case err == nil:
		t.installed[c.Prefix] = c.Route
	case errors.Is(err, nl.ErrExists):
		err = fmt.Errorf("%w: somebody else's route is there", err)
	}
	if err == nil || c.Op == nl.RouteDelete && errors.Is(err, nl.ErrNotFound) {
		delete(t.failures, c.Prefix)
	} else {
		t.failures[c.Prefix] = err
	}
}

// problem is one of the failures, and how many there are.
func (t *table) problem() string {
	if len(t.failures) == 0 {
		return ""
	}
	prefixes := make([]netip.Prefix, 0, len(t.failures))
	for p := range t.failures {
		prefixes = append(prefixes, p)
	}
	first := t.failures[slices.MinFunc(prefixes, netip.Prefix.Compare)]
	if n := len(prefixes) - 1; n > 0 {
		return fmt.Sprintf("%v, and %d more routes", first, n)
	}
	return first.Error()
}

// readTable returns the routes that are ours, without blackholes.
func readTable(h *nl.Handle, number int) (map[netip.Prefix]nl.Route, error) {
	found, err := h.Routes(number)
	if err != nil {
		return nil, err
	}
	routes := make(map[netip.Prefix]nl.Route, len(found))
	for _, r := range found {
		if r.Blackhole || r.Metric != routeMetric {
			continue
		}
		sortHops(r.Multipath)
		routes[r.Prefix] = r
	}
	return routes, nil
}

// prepare makes the blackholes, and then the rules for VIPs, and takes away those
// that are no longer wanted.
func prepare(h *nl.Handle, number int, vips []netip.Prefix) error {
	var errs []error
	for _, r := range blackholes(number) {
		if err := h.AddRoute(r); err != nil && !errors.Is(err, nl.ErrExists) {
			errs = append(errs, err)
		}
	}
	rules, err := h.Rules()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	wanted := map[nl.Rule]bool{}
	for _, vip := range vips {
		wanted[nl.Rule{From: vip, Table: number, Priority: rulePriority}] = true
	}
	for _, rule := range rules {
		if rule.Table != number || rule.Priority != rulePriority {
			continue
		}
		if !wanted[rule] {
			errs = append(errs, ignoreMissing(h.DeleteRule(rule)))
		}
		delete(wanted, rule)
	}
	for rule := range wanted {
		if err := h.AddRule(rule); err != nil && !errors.Is(err, nl.ErrExists) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// clearTable removes everything of ours: rules first, so that no packet misses the
// blackholes on its way to the main table.
func clearTable(h *nl.Handle, number int) error {
	var errs []error
	rules, err := h.Rules()
	errs = append(errs, err)
	for _, rule := range rules {
		if rule.Table == number && rule.Priority == rulePriority {
			errs = append(errs, ignoreMissing(h.DeleteRule(rule)))
		}
	}
	routes, err := h.Routes(number)
	errs = append(errs, err)
	var changes []nl.RouteChange
	for _, r := range routes {
		changes = append(changes, nl.RouteChange{Op: nl.RouteDelete, Route: r})
	}
	for _, err := range h.ChangeRoutes(changes) {
		errs = append(errs, ignoreMissing(err))
	}
	return errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, nl.ErrNotFound) {
		return nil
	}
	return err
}
