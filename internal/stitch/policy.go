// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"math"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-project/weft/internal/nl"
)

const (
	// firstTable is where the routing tables of policies start. The rule for
	// all packets of a policy has its table's number as priority, before the
	// main table's 32766; the rules for the replies that are known to belong
	// to one interface come before every such rule.
	firstTable   = 7000
	specificLead = 4000
	// blackholeMetric is worse than any other route's.
	blackholeMetric = math.MaxUint32 - 1
)

// rulesOf returns the rules that lead to a policy's table. Two networks of one
// workload may use the same VIP: then a reply belongs to the interface that
// the request came by, which the socket knows by the request's mark (TCP,
// tcp_fwmark_accept) or because the program sends its answer there (UDP,
// IP_PKTINFO). All other packets of the VIP take the older table.
func (in *inner) rulesOf(from netip.Prefix, table int) []nl.Rule {
	return []nl.Rule{
		{From: from, Table: table, Priority: table - specificLead, OutInterface: in.name},
		{From: from, Table: table, Priority: table - specificLead, Mark: in.mark()},
		{From: from, Table: table, Priority: table},
	}
}

// mark is on every frame that comes to the workload by the interface.
func (in *inner) mark() uint32 { return markBase | uint32(in.index)&0xff_ffff }

// markBase keeps ours apart from the marks of others; 'W'.
const markBase = 0x57 << 24

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
			if a.tx.plan == nil {
				if err = a.sweep(from); err != nil {
					return err
				}
			}
			if table, err = a.tables.take(a.h); err != nil {
				return err
			}
			a.in.keepTable(from, table)
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

// addPolicy completes a table and only then sends packets to it. Before
// anything else comes the rule by which a later process finds the table; there is
// no packet yet that it concerns.
func (a *applier) addPolicy(from netip.Prefix, want routes, table int) error {
	is := a.is.tables[table]
	rules := a.in.rulesOf(from, table)
	if err := a.addRules(is, rules[:1]); err != nil {
		return err
	}
	if !is.blackhole {
		blackhole := blackholeOf(from, table)
		err := a.tx.must("add blackhole of "+from.String(),
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
	return a.addRules(is, rules[1:])
}

func (a *applier) addRules(is tableState, rules []nl.Rule) error {
	for _, rule := range rules {
		if slices.Contains(is.rules, rule) {
			continue
		}
		err := a.tx.must("add rule "+rule.String(),
			func() error { return a.h.AddRule(rule) },
			func() error { return a.h.DeleteRule(rule) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) deletePolicies() error {
	for from, table := range a.in.tables {
		if _, wanted := a.want.policies[from]; wanted {
			continue
		}
		is := a.is.tables[table]
		// The rule that the table is found by goes last.
		mark := a.in.rulesOf(from, table)[0]
		others := slices.DeleteFunc(slices.Clone(is.rules), func(rule nl.Rule) bool { return rule == mark })
		if err := a.deleteRules(others...); err != nil {
			return err
		}
		if err := a.deleteRoutes(is.routes, nil, is.routes, table); err != nil {
			return err
		}
		blackhole := blackholeOf(from, table)
		err := a.tx.do("delete blackhole of "+from.String(),
			func() error { return a.h.DeleteRoute(blackhole) },
			func() error { return a.h.AddRoute(blackhole) })
		if err != nil {
			return err
		}
		if err := a.deleteRules(mark); err != nil {
			return err
		}
		a.tx.after(func() {
			delete(a.in.tables, from)
			a.tables.release(table)
		})
	}
	return nil
}

func (a *applier) deleteRules(rules ...nl.Rule) error {
	for _, rule := range rules {
		err := a.tx.do("delete rule "+rule.String(),
			func() error { return a.h.DeleteRule(rule) },
			func() error { return a.h.AddRule(rule) })
		if err != nil {
			return err
		}
	}
	return nil
}

// tableSet holds the tables given out, by namespace, so that ports of one
// namespace that are configured at once do not choose the same.
type tableSet struct {
	mu   sync.Mutex
	used map[uint64]map[int]bool
}

// claim notes a table that an earlier process has given out.
func (set *tableSet) claim(cookie uint64, table int) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.of(cookie)[table] = true
}

// of returns the tables of a namespace. The caller holds the lock.
func (set *tableSet) of(cookie uint64) map[int]bool {
	ours := set.used[cookie]
	if ours == nil {
		ours = map[int]bool{}
		if set.used == nil {
			set.used = map[uint64]map[int]bool{}
		}
		set.used[cookie] = ours
	}
	return ours
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
	ours := l.set.of(l.cookie)
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
