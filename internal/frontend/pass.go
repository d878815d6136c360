// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"crypto/sha256"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/bfd"
	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/nl"
)

// chunk is how many routes change while BFD may have to wait.
const chunk = 64

// pass brings the world in line with the config. The caller holds work.
func (f *Frontend) pass() {
	f.mu.Lock()
	ready := f.started && !f.closed
	f.mu.Unlock()
	if !ready {
		return
	}
	f.refresh()
	f.learn()
	f.speak()
	f.flush()
	f.mu.Lock()
	f.tell()
	f.mu.Unlock()
}

// refresh reads interface, table and rules again if they may have changed.
func (f *Frontend) refresh() {
	for range 10 { // as often as BFD interferes
		f.mu.Lock()
		due, config, version := f.resync, f.config, f.table.version
		f.resync = false
		f.mu.Unlock()
		if !due {
			return
		}
		problem := ""
		if err := prepare(f.read, config.Table, config.VIPs); err != nil {
			problem = err.Error()
		}
		i := readInterface(f.read, config.Interface)
		routes, err := readTable(f.read, config.Table)
		if err != nil {
			problem = err.Error()
		}
		f.mu.Lock()
		if f.table.version != version {
			f.resync = true
			f.mu.Unlock()
			continue
		}
		f.problem, f.iface, f.ways = problem, i, map[netip.Addr]nl.NextHop{}
		if err == nil {
			f.table.installed = routes
			if f.held == nil {
				f.held = maps.Clone(routes)
			}
		}
		for prefix := range f.table.installed {
			f.dirty[prefix] = true
		}
		for prefix := range f.table.failures {
			f.dirty[prefix] = true
		}
		for _, g := range f.gateways {
			f.touch(g)
		}
		f.mu.Unlock()
		return
	}
}

// learn takes over what sessions say.
func (f *Frontend) learn() {
	routes, peers, sessions := f.bgp.Routes(), f.bgp.Status(), f.bfd.Status()
	learned := map[string]map[netip.Prefix][]netip.Addr{}
	for _, r := range routes {
		if learned[r.Peer] == nil {
			learned[r.Peer] = map[netip.Prefix][]netip.Addr{}
		}
		learned[r.Peer][r.Prefix] = append(learned[r.Peer][r.Prefix], r.NextHop.WithZone(""))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range peers {
		if g := f.gateways[p.Name]; g != nil && g.BGP != nil {
			g.bgp = p
		}
	}
	for _, s := range sessions {
		if g := f.gateways[s.Name]; g != nil && g.BFD != nil && g.bfd.State == s.State {
			g.bfd = s
		}
	}
	now := time.Now()
	for _, g := range f.gateways {
		if g.BGP != nil {
			f.relearn(g, learned[g.Name])
		}
		changed := f.judge(g)
		if !g.unsettled.IsZero() && g.settled(now) {
			g.unsettled, changed = time.Time{}, true
			for prefix := range f.table.installed {
				f.dirty[prefix] = true
			}
		}
		if changed {
			f.touch(g)
		}
	}
}

// relearn replaces a gateway's routes and has those that differ looked at.
func (f *Frontend) relearn(g *gateway, routes map[netip.Prefix][]netip.Addr) {
	for prefix, hops := range g.learned {
		if !slices.Equal(hops, routes[prefix]) {
			f.dirty[prefix] = true
		}
	}
	for prefix := range routes {
		if _, known := g.learned[prefix]; !known {
			f.dirty[prefix] = true
		}
	}
	g.learned = routes
}

// speak tells BGP and BFD what they are to do.
func (f *Frontend) speak() {
	f.mu.Lock()
	sessions, config := f.bfdConfig(), f.bgpConfig()
	f.mu.Unlock()
	if !reflect.DeepEqual(sessions, f.sentBFD) {
		// All that can be are set, also after an error, such as a port that is taken.
		f.refused = f.bfd.Set(sessions)
		f.sentBFD = sessions
		if f.refused != nil {
			f.sentBFD = nil // again
		}
	}
	var err error
	if !reflect.DeepEqual(config, f.sentBGP) {
		if err = f.bgp.Set(config); err == nil {
			f.sentBGP = config
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.speech = errors.Join(f.refused, err)
	if err != nil {
		return
	}
	again := false
	for _, p := range config.Peers {
		if g := f.gateways[p.Name]; g != nil && g.reset && p.Disabled != "" {
			g.reset, again = false, true // what the session said before is gone
		}
	}
	if again {
		f.poke()
	}
}

func (f *Frontend) bfdConfig() []bfdnet.Session {
	var sessions []bfdnet.Session
	for _, want := range f.config.Gateways {
		b := want.BFD
		if b == nil {
			continue
		}
		s := bfdnet.Session{
			Key:    bfdnet.Key{Name: want.Name, Remote: want.Address, Multihop: b.Multihop},
			Config: bfd.Config{MinTx: b.MinTx, MinRx: b.MinRx, Multiplier: b.Multiplier},
		}
		if b.Multihop {
			if s.Local = f.iface.source(want.Address); !s.Local.IsValid() {
				s.Local = f.sentLocal(want.Name)
			}
			if !s.Local.IsValid() {
				continue // until the interface has an address
			}
		} else {
			s.Interface = f.config.Interface
		}
		switch b.Auth {
		case AuthSHA1:
			s.Auth = &bfd.Auth{Type: bfd.KeyedSHA1, KeyID: b.AuthKeyID, Key: b.AuthKey}
		case AuthMeticulousSHA1:
			s.Auth = &bfd.Auth{Type: bfd.MeticulousKeyedSHA1, KeyID: b.AuthKeyID, Key: b.AuthKey}
		}
		sessions = append(sessions, s)
	}
	return sessions
}

// sentLocal is where a session came from, while the interface has no address.
func (f *Frontend) sentLocal(name string) netip.Addr {
	for _, s := range f.sentBFD {
		if s.Name == name {
			return s.Local
		}
	}
	return netip.Addr{}
}

func (f *Frontend) bgpConfig() bgp.Config {
	config := bgp.Config{RouterID: f.config.RouterID, Announce: f.config.Announce, GracefulRestart: f.config.GracefulRestart}
	if !config.RouterID.IsValid() {
		config.RouterID = RouterID(f.config.Replica)
	}
	for _, want := range f.config.Gateways {
		b := want.BGP
		if b == nil {
			continue
		}
		p := bgp.Peer{
			Name: want.Name, Address: want.Address, Interface: f.config.Interface,
			LocalASN: b.LocalASN, RemoteASN: b.RemoteASN, HoldTime: b.HoldTime,
			LocalPort: b.LocalPort, RemotePort: b.RemotePort, Password: b.Password,
			TTLSecurity: b.TTLSecurity, Multihop: b.Multihop, ExtendedNextHop: b.ExtendedNextHop,
			NextHop4: f.iface.global(true, want.Address), NextHop6: f.iface.global(false, want.Address),
			Disabled: f.gateways[want.Name].disabled(),
		}
		// An address that has gone for a moment takes no family out of a session.
		for _, sent := range f.sentBGP.Peers {
			if sent.Name == p.Name && !p.NextHop4.IsValid() {
				p.NextHop4 = sent.NextHop4
			}
			if sent.Name == p.Name && !p.NextHop6.IsValid() {
				p.NextHop6 = sent.NextHop6
			}
		}
		config.Peers = append(config.Peers, p)
	}
	return config
}

// RouterID makes a router id of the name of a replica, so that it needs no IPv4
// address.
func RouterID(replica string) netip.Addr {
	sum := sha256.Sum256([]byte("weft router id\x00" + replica))
	return netip.AddrFrom4([4]byte{sum[0]%223 + 1, sum[1], sum[2], sum[3]})
}

// flush changes the routes that may differ, some at a time.
func (f *Frontend) flush() {
	for {
		f.mu.Lock()
		wanted, now := map[netip.Prefix][]nl.NextHop{}, time.Now()
		for prefix := range f.dirty {
			if len(wanted) == chunk {
				break
			}
			delete(f.dirty, prefix)
			wanted[prefix] = f.hops(prefix, now)
		}
		f.table.set(wanted)
		done := len(f.dirty) == 0
		f.mu.Unlock()
		if done {
			return
		}
	}
}

// hops are the next hops of a prefix: those of every gateway that is up, and
// those that a process before this one has left of gateways that may come up yet.
// The caller holds mu.
func (f *Frontend) hops(prefix netip.Prefix, now time.Time) (hops []nl.NextHop) {
	for _, g := range f.gateways {
		if !g.up {
			continue
		}
		for _, addr := range g.learned[prefix] {
			if way := f.way(addr); way.Index != 0 {
				hops = append(hops, way)
			}
		}
	}
	if held, ok := f.held[prefix]; ok {
		f.hold(prefix, slices.DeleteFunc(slices.Clone(hopsOf(held)), func(hop nl.NextHop) bool {
			known := slices.ContainsFunc(hops, func(h nl.NextHop) bool { return h.Gateway == hop.Gateway })
			return known || !f.kept(hop, now)
		}))
		if held, ok := f.held[prefix]; ok {
			hops = append(hops, hopsOf(held)...)
		}
	}
	return sortHops(hops)
}

// hold leaves only some next hops of a route before this process.
func (f *Frontend) hold(prefix netip.Prefix, hops []nl.NextHop) {
	if len(hops) == 0 {
		delete(f.held, prefix)
		return
	}
	f.held[prefix] = f.table.route(prefix, hops)
}

// kept says whether a next hop may be that of a gateway that has not come up
// again yet.
func (f *Frontend) kept(hop nl.NextHop, now time.Time) bool {
	if f.iface.problem != "" || hop.Index != f.iface.index {
		return false
	}
	keep := false
	for _, g := range f.gateways {
		unsettled := !g.unsettled.IsZero() && !g.settled(now)
		if g.Address == hop.Gateway {
			return unsettled
		}
		keep = keep || unsettled && g.BGP != nil
	}
	return keep
}

// way is how a next hop is reached by the external interface; without an Index:
// not at all. The caller holds mu.
func (f *Frontend) way(addr netip.Addr) nl.NextHop {
	if f.iface.index == 0 {
		return nl.NextHop{}
	}
	if way, known := f.ways[addr]; known {
		return way
	}
	way := nl.NextHop{Weight: 1, OnLink: true}
	if f.iface.onLink(addr) {
		way.Index, way.Gateway = f.iface.index, addr
	} else if via, index, err := f.table.h.Toward(addr); err == nil && via.IsValid() && index == f.iface.index {
		way.Index, way.Gateway = index, via
	}
	f.ways[addr] = way
	return way
}
