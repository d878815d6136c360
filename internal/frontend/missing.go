// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/nl"
)

// Missing tells what a namespace's kernel lacks of a frontend's: rules for its
// VIPs, blackholes, and the routes that its status reports.
func Missing(h *nl.Handle, config Config, status Status) (missing []string, err error) {
	rules, err := h.Rules()
	if err != nil {
		return nil, err
	}
	for _, vip := range config.VIPs {
		if want := (nl.Rule{From: vip, Table: config.Table, Priority: rulePriority}); !slices.Contains(rules, want) {
			missing = append(missing, fmt.Sprintf("rule %v", want))
		}
	}
	found, err := h.Routes(config.Table)
	if err != nil {
		return nil, err
	}
	for _, want := range blackholes(config.Table) {
		if !slices.ContainsFunc(found, func(r nl.Route) bool { return r.Blackhole && r.Prefix == want.Prefix }) {
			missing = append(missing, fmt.Sprintf("route %v", want))
		}
	}
	installed, err := readTable(h, config.Table)
	if err != nil {
		return nil, err
	}
	for _, want := range status.Routes {
		var hops []netip.Addr
		if is, there := installed[want.Prefix]; there {
			for _, hop := range hopsOf(is) {
				hops = append(hops, hop.Gateway)
			}
		}
		slices.SortFunc(hops, netip.Addr.Compare)
		if !slices.Equal(hops, want.NextHops) {
			missing = append(missing, fmt.Sprintf("route %v via %v, there is one via %v", want.Prefix, want.NextHops, hops))
		}
	}
	return missing, nil
}
