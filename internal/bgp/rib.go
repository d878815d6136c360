// SPDX-License-Identifier: Apache-2.0

package bgp

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// ribLimit bounds what is remembered of prefixes that are refused; what is beyond
// is only counted.
const ribLimit = 50_000

// Reasons to refuse a prefix.
const (
	refusedLimit    = "more than %d prefixes"
	refusedOwn      = "it is ours, or part of it"
	refusedMartian  = "it is not one that packets are sent to"
	refusedNextHop  = "its next hop is not one that packets are sent to"
	refusedOwnHop   = "its next hop is our own"
	refusedMapped   = "its next hop is not of its family"
	refusedLoop     = "our own AS is in its path"
	refusedBroken   = "its attributes are malformed or missing"
	refusedLinkHop  = "its next hop is link-local, and no interface is given"
	refusedOverflow = "more than %d prefixes are not looked at"
)

// learned is what is known of a gateway's prefix.
type learned struct {
	nextHop netip.Addr
	refused string // why the prefix itself or its path is no good
	over    bool   // not taken because of the limit
	stale   bool   // from before the gateway restarted
}

func (l learned) taken() bool { return l.refused == "" && !l.over }

// rib holds what a gateway announces; the peer's lock guards it.
type rib struct {
	entries map[netip.Prefix]learned
	taken   int
	over    int // that the limit keeps out
	// overflow counts what was dropped without being remembered.
	overflow int
}

func newRIB() rib { return rib{entries: map[netip.Prefix]learned{}} }

func (r *rib) put(prefix netip.Prefix, l learned, limit int) {
	old, known := r.entries[prefix]
	if !known && len(r.entries) >= ribLimit {
		r.overflow++
		return
	}
	if known {
		r.uncount(old)
	}
	l.over = false
	if l.refused == "" {
		l.over = r.taken >= limit
		if l.over {
			r.over++
		} else {
			r.taken++
		}
	}
	r.entries[prefix] = l
}

func (r *rib) uncount(l learned) {
	switch {
	case l.over:
		r.over--
	case l.refused == "":
		r.taken--
	}
}

func (r *rib) remove(prefix netip.Prefix) {
	if old, known := r.entries[prefix]; known {
		r.uncount(old)
		delete(r.entries, prefix)
	}
}

// settle makes as many be taken as the limit allows: those that are taken stay so
// if they can.
func (r *rib) settle(limit int) {
	if r.over == 0 && r.taken <= limit || r.over > 0 && r.taken == limit {
		return
	}
	var candidates []netip.Prefix
	more := r.taken < limit
	for prefix, l := range r.entries {
		if l.refused == "" && l.over == more {
			candidates = append(candidates, prefix)
		}
	}
	slices.SortFunc(candidates, netip.Prefix.Compare)
	if !more {
		slices.Reverse(candidates)
	}
	for _, prefix := range candidates {
		if r.taken == limit {
			return
		}
		l := r.entries[prefix]
		r.uncount(l)
		if l.over = !more; l.over {
			r.over++
		} else {
			r.taken++
		}
		r.entries[prefix] = l
	}
}

// removeStale removes what the gateway has not announced again since it restarted.
func (r *rib) removeStale(v6 bool) {
	for prefix, l := range r.entries {
		if l.stale && prefix.Addr().Is6() == v6 {
			r.remove(prefix)
		}
	}
}

// keepStale marks what is of the families that may be kept, and removes the rest.
func (r *rib) keepStale(keep [2]bool) {
	for prefix, l := range r.entries {
		if !keep[family(prefix.Addr().Is6())] {
			r.remove(prefix)
			continue
		}
		l.stale = true
		r.entries[prefix] = l
	}
	r.overflow = 0
}

// judge looks at all prefixes again, because what is ours has changed.
func (r *rib) judge(own []netip.Prefix, limit int) {
	for prefix, l := range r.entries {
		switch isOwn := within(own, prefix); {
		case isOwn && l.refused == "":
			l.refused = refusedOwn
		case !isOwn && l.refused == refusedOwn:
			l.refused = ""
		default:
			continue
		}
		stale := l.stale
		r.put(prefix, learned{nextHop: l.nextHop, refused: l.refused, stale: stale}, limit)
	}
	r.settle(limit)
}

// refusals counts what is refused, and says why with an example of each reason.
func (r *rib) refusals(limit int) (int, string) {
	examples, counts := map[string]netip.Prefix{}, map[string]int{}
	for prefix, l := range r.entries {
		why := l.refused
		if l.over {
			why = sprintf(refusedLimit, limit)
		}
		if why == "" {
			continue
		}
		if example, ok := examples[why]; !ok || prefix.Compare(example) < 0 {
			examples[why] = prefix
		}
		counts[why]++
	}
	total := r.overflow
	var texts []string
	for why, count := range counts {
		total += count
		text := sprintf("%v: %s", examples[why], why)
		if count > 1 {
			text += sprintf(" (and %d more)", count-1)
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	if r.overflow > 0 {
		texts = append(texts, sprintf(refusedOverflow, ribLimit))
	}
	return total, strings.Join(texts, "; ")
}

// within says that the prefix is one of the list, or part of one.
func within(list []netip.Prefix, prefix netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

var martians = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/96"), netip.MustParsePrefix("::ffff:0:0/96"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// refusePrefix says why a prefix is not taken; "" = it is.
func refusePrefix(prefix netip.Prefix, own []netip.Prefix) string {
	switch {
	case within(own, prefix):
		return refusedOwn
	case within(martians, prefix):
		return refusedMartian
	}
	return ""
}

// nextHopOf returns the next hop with a zone if it needs one, or why it is none.
func (t target) nextHopOf(hop, linkLocal netip.Addr, v6 bool, local netip.Addr) (netip.Addr, string) {
	if !hop.IsValid() || hop.IsUnspecified() {
		hop = linkLocal
	}
	switch {
	case !hop.IsValid() || hop.IsUnspecified() || hop.IsLoopback() || hop.IsMulticast() || hop == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return hop, refusedNextHop
	case hop.Is4In6() || v6 && hop.Is4():
		return hop, refusedMapped
	case hop == local.WithZone("") || hop == t.NextHop4 || hop == t.NextHop6 || within(t.announce, netip.PrefixFrom(hop, hop.BitLen())):
		return hop, refusedOwnHop
	case hop.Is6() && hop.IsLinkLocalUnicast():
		if t.Interface == "" {
			return hop, refusedLinkHop
		}
		return hop.WithZone(t.Interface), ""
	}
	return hop, ""
}

func prefixOf(nlri bgp.PathNLRI) (netip.Prefix, bool) {
	prefix, ok := nlri.NLRI.(*bgp.IPAddrPrefix)
	if !ok {
		return netip.Prefix{}, false
	}
	return prefix.Prefix.Masked(), prefix.Prefix.IsValid()
}
