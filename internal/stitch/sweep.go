// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"net/netip"

	"github.com/weft-project/weft/internal/nl"
)

// sweep removes the tables that an earlier process has left for the same
// interface and source: its interface is gone, so their blackholes would
// swallow what the new table routes. They are known by their rule for the
// interface's name.
func (a *applier) sweep(from netip.Prefix) error {
	rules, err := a.h.Rules()
	if err != nil {
		return err
	}
	var stale []int
	for _, rule := range rules {
		if rule.From == from && rule.OutInterface == a.in.name && !a.tables.given(rule.Table) {
			stale = append(stale, rule.Table)
		}
	}
	for _, table := range stale {
		var errs []error
		for _, rule := range rules {
			if rule.Table == table {
				errs = append(errs, a.h.DeleteRule(rule))
			}
		}
		routes, err := a.h.Routes(table)
		errs = append(errs, err)
		for _, route := range routes {
			errs = append(errs, a.h.DeleteRoute(route))
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, nl.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// given tells whether a port of this process has the table.
func (l *tableLease) given(table int) bool {
	l.set.mu.Lock()
	defer l.set.mu.Unlock()
	return l.set.used[l.cookie][table]
}
