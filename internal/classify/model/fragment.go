// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"

	"github.com/weft-project/weft/internal/packet"
)

// FragmentKey names the packet that a fragment is part of: by RFC 791 addresses,
// protocol and id, by RFC 8200 addresses and id.
type FragmentKey struct {
	Src, Dst netip.Addr
	ID       uint32
	Proto    uint8 // of the IPv4 header; 0 in IPv6
}

// Fate is what became of a first fragment.
type Fate struct {
	Stream uint32 // of the rule that it matched
	Flow   uint32
	Target uint16 // the target that was chosen for it, 0: none
	Echo   bool   // answered
	Drop   string // verdict, if neither
}

// Fragments is what became of first fragments.
type Fragments map[FragmentKey]Fate

func keyOf(p packet.Packet) FragmentKey {
	k := FragmentKey{Src: p.Src, Dst: p.Dst, ID: p.Fragment.ID}
	if p.Src.Is4() {
		k.Proto = p.Next
	}
	return k
}

func (f Fragments) remember(k FragmentKey, d Decision) {
	if f == nil {
		return
	}
	fate := Fate{Stream: d.Stream, Flow: d.Flow, Target: d.Target, Echo: d.Verdict == EchoAnswered}
	if fate.Target == 0 && !fate.Echo {
		fate.Drop = d.Verdict
	}
	f[k] = fate
}

// later decides on a fragment that is not the first: it shares the fate of that.
func (w World) later(frame []byte, p packet.Packet) Decision {
	fate, ok := w.Fragments[keyOf(p)]
	switch {
	case !ok && w.SlowPath:
		return Decision{Verdict: FragmentParked}
	case !ok:
		return Decision{Verdict: Fragment}
	case fate.Echo:
		return w.answer(frame, p)
	}
	d := Decision{Verdict: fate.Drop, Stream: fate.Stream, Flow: fate.Flow}
	switch {
	case fate.Target == 0:
		return d
	case !w.hasTarget(fate.Target): // since then deleted
		d.Verdict = NoTarget
		return d
	}
	d.Verdict, d.Target = FragmentForwarded, fate.Target
	return w.send(frame, p, d, func([]byte) string { return "" })
}
