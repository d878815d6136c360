// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
)

// inner is the configured end of an interface, in a namespace of others.
type inner struct {
	path   string // may be gone or name another namespace by now: compare cookie
	inode  uint64
	cookie uint64
	name   string
	index  int
	mac    net.HardwareAddr

	ours   config               // what we have put on it
	unsure []netip.Addr         // new IPv6 addresses that packets may not reach yet
	tables map[netip.Prefix]int // by policy source
}

// reality is what the kernel has, of what matters to an inner end.
type reality struct {
	up         bool
	mtu        int
	addresses  []netip.Prefix
	routes     routes
	neighbours map[netip.Addr]string
	tables     map[int]tableState
}

type tableState struct {
	routes    routes
	blackhole bool
	rules     []nl.Rule // of ours that lead here
}

// lead notes a way into the namespace, and what it takes to find another one
// when this one is gone: a received descriptor is closed after its Request.
func (in *inner) lead(path string) {
	in.path = path
	if inode, err := netns.Inode(path); err == nil {
		in.inode = inode
	}
}

// enter opens a netlink handle in the namespace, by whatever way still leads
// there. It is ErrNoNamespace when none does.
func (in *inner) enter() (*nl.Handle, error) {
	err := fmt.Errorf("namespace of %s: %w", in.name, ErrNoNamespace)
	if in.path != "" {
		var h *nl.Handle
		var cookie uint64
		h, cookie, err = openSide(Side{NetNS: in.path})
		if err == nil && cookie == in.cookie {
			return h, nil
		}
		if err == nil {
			err = fmt.Errorf("%s: %w: it names another one now", in.path, ErrNoNamespace)
			_ = h.Close()
		}
		if !errors.Is(err, ErrNoNamespace) {
			return nil, err
		}
	}
	ways := netns.Find(in.inode)
	if in.inode == 0 { // adopted, and nobody has led the way yet
		ways = netns.All()
	}
	for path := range ways {
		h, cookie, other := openSide(Side{NetNS: path})
		if other != nil {
			continue // it has just gone
		}
		if cookie == in.cookie {
			in.lead(path)
			return h, nil
		}
		_ = h.Close()
	}
	return nil, err
}

// keepTable notes the table of a policy.
func (in *inner) keepTable(from netip.Prefix, table int) {
	if in.tables == nil {
		in.tables = map[netip.Prefix]int{}
	}
	in.tables[from] = table
}

// read finds out what the kernel has. An interface that is gone has nothing,
// but rules and tables outlive it.
func (in *inner) read(h *nl.Handle) (reality, error) {
	r := reality{routes: routes{}, neighbours: map[netip.Addr]string{}, tables: map[int]tableState{}}
	link, err := h.LinkByIndex(in.index)
	if errors.Is(err, nl.ErrNotFound) {
		return r, in.readTables(h, r.tables)
	}
	if err != nil {
		return r, err
	}
	r.up, r.mtu = link.Up, link.MTU
	if r.addresses, err = h.Addresses(in.index); err != nil {
		return r, err
	}
	neighbours, err := h.Neighbours(in.index)
	if err != nil {
		return r, err
	}
	for _, n := range neighbours {
		r.neighbours[n.IP] = string(n.MAC)
	}
	main, err := h.RoutesOver(in.index, 0)
	if err != nil {
		return r, err
	}
	r.routes, _ = in.sift(main)
	return r, in.readTables(h, r.tables)
}

func (in *inner) readTables(h *nl.Handle, tables map[int]tableState) error {
	if len(in.tables) == 0 {
		return nil
	}
	rules, err := h.Rules()
	if err != nil {
		return err
	}
	for from, table := range in.tables {
		var state tableState
		if state.routes, state.blackhole, err = in.readTable(h, table); err != nil {
			return err
		}
		for _, rule := range rules {
			if rule.From == from && rule.Table == table {
				state.rules = append(state.rules, rule)
			}
		}
		tables[table] = state
	}
	return nil
}

// readTable returns the routes over this interface, and whether the table has
// a blackhole.
func (in *inner) readTable(h *nl.Handle, table int) (found routes, blackhole bool, err error) {
	list, err := h.Routes(table)
	if err != nil {
		return nil, false, err
	}
	found, blackhole = in.sift(list)
	return found, blackhole, nil
}

func (in *inner) sift(list []nl.Route) (found routes, blackhole bool) {
	found = routes{}
	for _, r := range list {
		switch {
		case r.Blackhole:
			blackhole = true
		case r.Index == in.index:
			found.add(Route{Prefix: r.Prefix, Gateway: r.Gateway}, r.Source)
		}
		for _, hop := range r.Multipath {
			if hop.Index == in.index {
				found.add(Route{Prefix: r.Prefix, Gateway: hop.Gateway}, r.Source)
			}
		}
	}
	return found, blackhole
}

// firstMetric plus the interface's index is the metric of our routes. So two
// interfaces of a workload may have routes to the same prefix (trenches may use
// the same addresses; the older interface's counts), and none of them comes
// before a route of the primary network.
const firstMetric = 1024

// netRoute makes the kernel's route of a prefix.
func (in *inner) netRoute(prefix netip.Prefix, h hops, table int) nl.Route {
	r := nl.Route{Prefix: prefix, Table: table, Source: h.source, Metric: firstMetric + in.index}
	if len(h.gateways) == 1 {
		r.Index, r.Gateway, r.OnLink = in.index, h.gateways[0], h.gateways[0].IsValid()
		return r
	}
	for _, gateway := range h.gateways {
		r.Multipath = append(r.Multipath, nl.NextHop{Index: in.index, Gateway: gateway, OnLink: gateway.IsValid()})
	}
	return r
}

// markReplies makes the replies of TCP connections carry the mark of their
// request, and the check of a request's source address see it.
func (in *inner) markReplies() error {
	return netns.Do(in.path, func() error {
		for key, value := range map[string]string{
			"net/ipv4/tcp_fwmark_accept":                   "1",
			"net/ipv4/conf/" + in.name + "/src_valid_mark": "1",
		} {
			if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
				return fmt.Errorf("tell the networks of a shared VIP apart: %w", err)
			}
		}
		return nil
	})
}
