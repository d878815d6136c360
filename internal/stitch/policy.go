// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"math"
	"net/netip"
	"sync"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// firstTable is where the routing tables of policies start. A policy's
	// rule has its table's number as priority, before the main table's 32766.
	firstTable = 7000
	// blackholeMetric is worse than any other route's.
	blackholeMetric = math.MaxUint32 - 1
)

func ruleOf(from netip.Prefix, table int) nl.Rule {
	return nl.Rule{From: from, Table: table, Priority: table}
}

func blackholeOf(from netip.Prefix, table int) nl.Route {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if from.Addr().Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return nl.Route{Prefix: all, Table: table, Blackhole: true, Metric: blackholeMetric}
}

func (a *applier) addPolicies() error {
	for from, want := range a.want.policies {
		table, known := a.in.tables[from]
		if !known {
			var err error
			if table, err = a.tables.take(a.h); err != nil {
				return err
			}
			if a.in.tables == nil {
				a.in.tables = map[netip.Prefix]int{}
			}
			a.in.tables[from] = table
			a.tx.revert(func() error {
				delete(a.in.tables, from)
				a.tables.release(table)
				return nil
			})
		}
		if err := a.addPolicy(from, want, table); err != nil {
			return err
		}
	}
	return nil
}

// addPolicy completes a table and only then sends packets to it.
func (a *applier) addPolicy(from netip.Prefix, want routes, table int) error {
	is := a.is.tables[table]
	if !is.blackhole {
		blackhole := blackholeOf(from, table)
		err := a.tx.must("add blackhole",
			func() error { return a.h.AddRoute(blackhole) },
			func() error { return a.h.DeleteRoute(blackhole) })
		if err != nil {
			return err
		}
	}
	if err := a.addRoutes(want, is.routes, table); err != nil {
		return err
	}
	if err := a.deleteRoutes(a.in.ours.policies[from], want, is.routes, table); err != nil {
		return err
	}
	if is.rule {
		return nil
	}
	rule := ruleOf(from, table)
	return a.tx.must("add rule",
		func() error { return a.h.AddRule(rule) },
		func() error { return a.h.DeleteRule(rule) })
}

func (a *applier) deletePolicies() error {
	for from, table := range a.in.tables {
		if _, wanted := a.want.policies[from]; wanted {
			continue
		}
		is := a.is.tables[table]
		rule, blackhole := ruleOf(from, table), blackholeOf(from, table)
		err := a.tx.do("delete rule",
			func() error { return a.h.DeleteRule(rule) },
			func() error { return a.h.AddRule(rule) })
		if err != nil {
			return err
		}
		if err := a.deleteRoutes(is.routes, nil, is.routes, table); err != nil {
			return err
		}
		err = a.tx.do("delete blackhole",
			func() error { return a.h.DeleteRoute(blackhole) },
			func() error { return a.h.AddRoute(blackhole) })
		if err != nil {
			return err
		}
		a.tx.after(func() {
			delete(a.in.tables, from)
			a.tables.release(table)
		})
	}
	return nil
}

// tableSet holds the tables given out, by namespace, so that ports of one
// namespace that are configured at once do not choose the same.
type tableSet struct {
	mu   sync.Mutex
	used map[uint64]map[int]bool
}

// tableLease gives out tables of one namespace.
type tableLease struct {
	set    *tableSet
	cookie uint64
	others map[int]bool // used in the kernel, read once
}

// take returns a table that nobody uses.
func (l *tableLease) take(h *nl.Handle) (int, error) {
	if l.others == nil {
		others, err := h.UsedTables()
		if err != nil {
			return 0, err
		}
		l.others = others
	}
	l.set.mu.Lock()
	defer l.set.mu.Unlock()
	ours := l.set.used[l.cookie]
	if ours == nil {
		ours = map[int]bool{}
		if l.set.used == nil {
			l.set.used = map[uint64]map[int]bool{}
		}
		l.set.used[l.cookie] = ours
	}
	table := firstTable
	for l.others[table] || ours[table] {
		table++
	}
	ours[table] = true
	return table, nil
}

func (l *tableLease) release(table int) {
	l.set.mu.Lock()
	defer l.set.mu.Unlock()
	delete(l.set.used[l.cookie], table)
	if len(l.set.used[l.cookie]) == 0 {
		delete(l.set.used, l.cookie)
	}
}
