// SPDX-License-Identifier: Apache-2.0

package nl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NextHop is one way of a multipath route.
type NextHop struct {
	Index   int
	Gateway netip.Addr
	Weight  int // 1..256, 0 means 1
	OnLink  bool
}

// Route is a route of protocol Protocol.
type Route struct {
	Index     int // outgoing interface; 0 with Blackhole or Multipath
	Prefix    netip.Prefix
	Gateway   netip.Addr // zero: directly on the link
	Source    netip.Addr // preferred source, may be zero
	Table     int        // 0 means main
	Metric    int
	MTU       int  // of packets that take it; 0: the interface's
	OnLink    bool // the gateway need not be reachable by another route
	Blackhole bool
	Multipath []NextHop
}

// String is what ip-route(8) would say, in short.
func (r Route) String() string {
	text := r.Prefix.String()
	switch {
	case r.Blackhole:
		text = "blackhole " + text
	case r.Gateway.IsValid():
		text += " via " + r.Gateway.String()
	}
	for _, hop := range r.Multipath {
		text += " nexthop " + hop.Gateway.String()
	}
	if r.Table != 0 {
		text += fmt.Sprintf(" table %d", r.Table)
	}
	return text
}

// AddRoute adds a route; the same prefix, metric and table is ErrExists.
func (h *Handle) AddRoute(r Route) error {
	return wrap(h.lib.RouteAdd(toRoute(r)), "add route %s to table %d", r.Prefix, r.Table)
}

// ReplaceRoute adds a route or replaces the one of the same prefix, metric and
// table, in one step.
func (h *Handle) ReplaceRoute(r Route) error {
	return wrap(h.lib.RouteReplace(toRoute(r)), "replace route %s of table %d", r.Prefix, r.Table)
}

// DeleteRoute removes a route.
func (h *Handle) DeleteRoute(r Route) error {
	return wrap(h.lib.RouteDel(toRoute(r)), "delete route %s of table %d", r.Prefix, r.Table)
}

// Routes returns the routes of ours in a table (0: main).
func (h *Handle) Routes(table int) ([]Route, error) { return h.RoutesOver(0, table) }

// RoutesOver returns the routes of ours in a table (0: main) that lead over an
// interface, alone or among others. It sees no blackholes: they lead nowhere.
func (h *Handle) RoutesOver(index, table int) ([]Route, error) {
	found, err := h.listRoutes(netlink.Route{Table: table, Protocol: Protocol, LinkIndex: index})
	if err != nil {
		return nil, wrap(err, "list routes of table %d", table)
	}
	routes := make([]Route, 0, len(found))
	for _, r := range found {
		if r.Protocol == Protocol {
			routes = append(routes, fromRoute(r))
		}
	}
	return routes, nil
}

// AllRoutes returns the routes of a table (0: main), whoever made them.
func (h *Handle) AllRoutes(table int) ([]Route, error) {
	found, err := h.listRoutes(netlink.Route{Table: table})
	if err != nil {
		return nil, wrap(err, "list routes of table %d", table)
	}
	routes := make([]Route, 0, len(found))
	for _, r := range found {
		routes = append(routes, fromRoute(r))
	}
	return routes, nil
}

// listRoutes returns the routes of a table (0: main) that the kernel selects by
// protocol and interface, where they are given. Over an interface that is gone
// there are none.
func (h *Handle) listRoutes(filter netlink.Route) ([]netlink.Route, error) {
	if filter.Table == 0 {
		filter.Table = unix.RT_TABLE_MAIN
	}
	// For this alone: the library asks for other things in ways that a strict
	// kernel refuses.
	if err := h.lib.SetStrictCheck(true); err != nil {
		return nil, err
	}
	defer func() { _ = h.lib.SetStrictCheck(false) }()
	found, err := dump(func() (found []netlink.Route, err error) {
		err = h.lib.RouteListFilteredIter(unix.AF_UNSPEC, &filter, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			found = append(found, r)
			return true
		})
		return found, err
	})
	if filter.LinkIndex != 0 && errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return found, err
}

// HostRoutes returns the single addresses that the main table has behind an
// interface (0: all), with the interfaces' indices, whoever made the routes.
func (h *Handle) HostRoutes(index int) (map[netip.Addr]int, error) {
	found, err := h.listRoutes(netlink.Route{LinkIndex: index})
	if err != nil {
		return nil, wrap(err, "list host routes")
	}
	hosts := map[netip.Addr]int{}
	for _, r := range found {
		if prefix := fromIPNet(r.Dst); prefix.IsSingleIP() && r.LinkIndex != 0 {
			hosts[prefix.Addr()] = r.LinkIndex
		}
	}
	return hosts, nil
}

// HostRoute returns the interface that an address is behind by a route of its
// own, 0 when there is no such route.
func (h *Handle) HostRoute(addr netip.Addr) (index int, err error) {
	found, err := h.lib.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ESRCH),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.EACCES): // the last two: blackhole, prohibit
		return 0, nil
	case err != nil:
		return 0, wrap(err, "look up %s", addr)
	}
	for _, r := range found {
		if r.Type == unix.RTN_UNICAST && fromIPNet(r.Dst) == netip.PrefixFrom(addr, addr.BitLen()) {
			return r.LinkIndex, nil
		}
	}
	return 0, nil
}

// UsedTables returns the routing tables that have any route or that any rule
// points at, whoever made it.
func (h *Handle) UsedTables() (map[int]bool, error) {
	routes, err := dump(func() ([]netlink.Route, error) {
		return h.lib.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, wrap(err, "list routes of all tables")
	}
	rules, err := dump(func() ([]netlink.Rule, error) { return h.lib.RuleList(unix.AF_UNSPEC) })
	if err != nil {
		return nil, wrap(err, "list rules")
	}
	used := map[int]bool{}
	for _, r := range routes {
		used[r.Table] = true
	}
	for _, r := range rules {
		used[r.Table] = true
	}
	return used, nil
}

func toRoute(r Route) *netlink.Route {
	route := &netlink.Route{
		LinkIndex: r.Index, Dst: toIPNet(r.Prefix), Table: r.Table,
		Protocol: Protocol, Priority: r.Metric, MTU: r.MTU, Family: family(r.Prefix.Addr()),
	}
	if via := otherFamily(r.Gateway, r.Prefix); via != nil {
		route.Via = via
	} else if r.Gateway.IsValid() {
		route.Gw = r.Gateway.AsSlice()
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	if r.OnLink {
		route.Flags |= unix.RTNH_F_ONLINK
	}
	switch {
	case r.Blackhole:
		route.Type = unix.RTN_BLACKHOLE
	case len(r.Multipath) == 0 && !r.Gateway.IsValid() && r.Prefix.Addr().Is4():
		route.Scope = netlink.SCOPE_LINK
	}
	for _, hop := range r.Multipath {
		info := &netlink.NexthopInfo{LinkIndex: hop.Index, Hops: max(hop.Weight, 1) - 1}
		if via := otherFamily(hop.Gateway, r.Prefix); via != nil {
			info.Via = via
		} else if hop.Gateway.IsValid() {
			info.Gw = hop.Gateway.AsSlice()
		}
		if hop.OnLink {
			info.Flags |= unix.RTNH_F_ONLINK
		}
		route.MultiPath = append(route.MultiPath, info)
	}
	return route
}

func fromRoute(r netlink.Route) Route {
	route := Route{
		Index: r.LinkIndex, Prefix: fromIPNet(r.Dst), Gateway: gatewayOf(r.Gw, r.Via), Source: fromIP(r.Src),
		Table: r.Table, Metric: r.Priority, MTU: r.MTU, Blackhole: r.Type == unix.RTN_BLACKHOLE,
		OnLink: r.Flags&unix.RTNH_F_ONLINK != 0,
	}
	if route.Blackhole {
		route.Index = 0 // IPv6 shows lo
	}
	if !route.Prefix.IsValid() {
		route.Prefix = netip.PrefixFrom(zeroOf(r.Family), 0)
	}
	for _, hop := range r.MultiPath {
		route.Multipath = append(route.Multipath, NextHop{
			Index: hop.LinkIndex, Gateway: gatewayOf(hop.Gw, hop.Via), Weight: hop.Hops + 1,
			OnLink: hop.Flags&unix.RTNH_F_ONLINK != 0,
		})
	}
	return route
}

// otherFamily is a gateway that is not of the prefix's family (RFC 8950), else
// nil.
func otherFamily(gateway netip.Addr, prefix netip.Prefix) netlink.Destination {
	if !gateway.IsValid() || gateway.Is4() == prefix.Addr().Is4() {
		return nil
	}
	return &netlink.Via{AddrFamily: family(gateway), Addr: gateway.AsSlice()}
}

func gatewayOf(gw net.IP, via netlink.Destination) netip.Addr {
	if via, ok := via.(*netlink.Via); ok && via != nil {
		return fromIP(via.Addr)
	}
	return fromIP(gw)
}

func zeroOf(family int) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// Rule sends packets from a source prefix to a routing table. It is of
// protocol Protocol.
type Rule struct {
	From         netip.Prefix
	OutInterface string // only packets bound to it; empty: all
	Mark         uint32 // only packets with it; 0: all
	Table        int
	Priority     int
}

// String is what ip-rule(8) would say, in short.
func (r Rule) String() string {
	text := fmt.Sprintf("%d: from %s", r.Priority, r.From)
	if r.OutInterface != "" {
		text += " oif " + r.OutInterface
	}
	if r.Mark != 0 {
		text += fmt.Sprintf(" fwmark %#x", r.Mark)
	}
	return fmt.Sprintf("%s lookup %d", text, r.Table)
}

// AddRule adds a rule; the same one is ErrExists.
func (h *Handle) AddRule(r Rule) error {
	return wrap(h.lib.RuleAdd(toRule(r)), "add rule from %s lookup %d", r.From, r.Table)
}

// DeleteRule removes a rule.
func (h *Handle) DeleteRule(r Rule) error {
	return wrap(h.lib.RuleDel(toRule(r)), "delete rule from %s lookup %d", r.From, r.Table)
}

// Rules returns the rules of ours.
func (h *Handle) Rules() ([]Rule, error) {
	found, err := dump(func() ([]netlink.Rule, error) { return h.lib.RuleList(unix.AF_UNSPEC) })
	if err != nil {
		return nil, wrap(err, "list rules")
	}
	var rules []Rule
	for _, r := range found {
		if r.Protocol == Protocol {
			rules = append(rules, Rule{
				From: fromIPNet(r.Src), OutInterface: r.OifName, Mark: r.Mark, Table: r.Table, Priority: r.Priority,
			})
		}
	}
	return rules, nil
}

func toRule(r Rule) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family = family(r.From.Addr())
	rule.Src = toIPNet(r.From)
	rule.OifName = r.OutInterface
	rule.Mark = r.Mark
	rule.Table = r.Table
	rule.Priority = r.Priority
	rule.Protocol = Protocol
	return rule
}
