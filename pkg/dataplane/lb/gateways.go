// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
)

// Gateways are where replies leave to.
type Gateways struct {
	// Default4 and Default6 are the live next hops of IPv4 and of IPv6 packets on
	// the external interface, which share the flows. Those of Default4 may be
	// IPv6 addresses (RFC 8950). Zones are those of the interface and ignored.
	Default4, Default6 []netip.Addr
	// Table, if not 0, is a routing table of the kernel's that is looked at
	// first; the defaults are for what it has no route to.
	Table uint32
}

// clone returns a copy with each next hop once, sorted.
func (g Gateways) clone() Gateways {
	tidy := func(list []netip.Addr) []netip.Addr {
		var out []netip.Addr
		for _, a := range list {
			out = append(out, a.WithZone(""))
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return slices.Compact(out)
	}
	return Gateways{Default4: tidy(g.Default4), Default6: tidy(g.Default6), Table: g.Table}
}

// Equal says that both have the same next hops, in whatever order, and table.
func (g Gateways) Equal(o Gateways) bool {
	a, b := g.clone(), o.clone()
	return slices.Equal(a.Default4, b.Default4) && slices.Equal(a.Default6, b.Default6) && a.Table == b.Table
}

// Validate returns every problem, joined.
func (g Gateways) Validate() error {
	var errs []error
	for i, list := range [...][]netip.Addr{g.Default4, g.Default6} {
		name := [...]string{"IPv4", "IPv6"}[i]
		for _, a := range list {
			switch {
			case !a.IsValid(), a.Is4In6(), a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
				errs = append(errs, fmt.Errorf("gateway %s of %s: not a unicast address of a network", a, name))
			case i == 1 && a.Is4():
				errs = append(errs, fmt.Errorf("gateway %s of IPv6: an IPv4 address", a))
			}
		}
		if len(list) > classify.MaxGateways {
			errs = append(errs, fmt.Errorf("%d gateways of %s: at most %d", len(list), name, classify.MaxGateways))
		}
	}
	return errors.Join(errs...)
}

// ErrTable says that the program cannot look routes up in the kernel's table.
var ErrTable = errors.New("routes cannot be looked up")

// SetGateways tells where replies leave to, from the next packet on. A flow keeps
// its gateway unless that has gone or a new one takes it over. With ErrTable the
// defaults are in force, and the table is not looked at.
func (l *LB) SetGateways(g Gateways) error {
	if err := g.Validate(); err != nil {
		return err
	}
	g = g.clone()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.objs == nil {
		return errClosed
	}
	var err error
	if g.Table != 0 {
		if err = l.forwardLookups(); err != nil {
			err = fmt.Errorf("table %d: %w: %w", g.Table, ErrTable, err)
			g.Table = 0
		}
	}
	l.writeGateways(g)
	l.told = true
	return err
}

// Gateways returns what is in force.
func (l *LB) Gateways() Gateways {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gateways.clone()
}

// writeGateways writes the idle half and switches to it. The caller holds mu.
func (l *LB) writeGateways(g Gateways) {
	all := at[bpfLbGateway](l.ways, 0)
	idle := all.Active&1 ^ 1
	to, from := &all.Half[idle], &all.Half[idle^1]
	to.Table = g.Table
	before := [...][]netip.Addr{l.gateways.Default4, l.gateways.Default6}
	for i, list := range [...][]netip.Addr{g.Default4, g.Default6} {
		to.N[i] = uint32(len(list))
		for k, a := range list {
			to.Ways[i].Hops[k].Hi, to.Ways[i].Hops[k].Lo = hopWords(a)
		}
		spread(list, &to.Ways[i].Slots, before[i], &from.Ways[i].Slots)
	}
	atomic.StoreUint32(&all.Active, idle)
	l.gateways = g
}

// hopWords is an address as the program loads it.
func hopWords(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])
}

func hopAddr(hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:8], hi)
	binary.NativeEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b).Unmap()
}

// gatewaySlots is how many shares flows are divided into.
const gatewaySlots = len(bpfLbGateway{}.Half[0].Ways[0].Slots)

// spread gives each slot to the hop with the highest score for it (rendezvous
// hashing): when a hop goes, only its own slots get another one, and a new one
// takes an equal part of each. was is how the slots were spread over before, so
// that only what may differ is looked at.
func spread(list []netip.Addr, slots *[gatewaySlots]uint8, before []netip.Addr, was *[gatewaySlots]uint8) {
	if len(list) == 0 {
		return
	}
	seeds := make([]uint64, len(list))
	all, added := make([]int, len(list)), []int(nil)
	for i, a := range list {
		seeds[i], all[i] = hopSeed(a), i
		if !slices.Contains(before, a) {
			added = append(added, i)
		}
	}
	now := make([]int, len(before)) // index in list, -1: gone
	for i, a := range before {
		now[i] = slices.Index(list, a)
	}
	for slot := range slots {
		best, most, rivals := 0, uint64(0), all
		if len(before) > 0 {
			if winner := now[was[slot]]; winner >= 0 {
				best, most, rivals = winner, hopScore(seeds[winner], uint64(slot)), added
			}
		}
		for _, i := range rivals {
			if score := hopScore(seeds[i], uint64(slot)); score > most {
				best, most = i, score
			}
		}
		slots[slot] = uint8(best)
	}
}

// Multipliers of splitmix64.
const (
	mix1 = 0xbf58476d1ce4e5b9
	mix2 = 0x94d049bb133111eb
)

func hopSeed(a netip.Addr) uint64 {
	b := a.As16()
	return hopScore(hopScore(0, binary.BigEndian.Uint64(b[:8])), binary.BigEndian.Uint64(b[8:]))
}

// hopScore mixes a seed and a number (splitmix64's finish).
func hopScore(seed, n uint64) uint64 {
	h := seed + (n+1)*0x9e3779b97f4a7c15
	h = (h ^ h>>30) * mix1
	h = (h ^ h>>27) * mix2
	return h ^ h>>31
}

// lookupSwitches are the settings of the namespace that lookups need: they come in
// by the loopback interface, and the kernel answers only for interfaces that
// forward. Nothing else changes by it: nothing to forward ever comes in there.
var lookupSwitches = [...]string{
	"/proc/sys/net/ipv4/conf/lo/forwarding", "/proc/sys/net/ipv6/conf/lo/forwarding",
}

// forwardLookups makes the kernel answer the program's lookups. The caller holds
// mu.
func (l *LB) forwardLookups() error {
	if l.lookups {
		return nil
	}
	err := netns.Do(l.cfg.NetNS, func() error {
		for _, path := range lookupSwitches {
			value, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(value)) == "1" {
				continue // a kernel without IPv6; or on already
			}
			if err := os.WriteFile(path, []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	l.lookups = err == nil
	return err
}
