// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"github.com/weft-project/weft/internal/packet"
)

// cut cuts an IPv4 packet and sends it on.
func (e *Engine) cut(ev Event) {
	p, ok := ev.packet()
	// The segments of a TCP super packet are one segment as well; its fragments
	// are what carries it. Datagrams would become one that nobody sent.
	if !ok || !packet.MayFragment(p) || packet.TTL(p) <= 1 || ev.GSO && p[9] != packet.TCP {
		e.count(&e.counters.CutFailed)
		return
	}
	hop, ok := e.nextHop(ev, p)
	if !ok {
		e.count(&e.counters.CutFailed)
		return
	}
	packet.CompleteIPv4(p)
	if ev.Port != 0 && !packet.SetPort(p, ev.Port, !ev.Reply) {
		e.count(&e.counters.CutFailed)
		return
	}
	packet.SetTTL(p, packet.TTL(p)-1)
	hop.MTU = limit(hop.MTU, ev.MTU)
	if e.sendCut(hop, p) {
		e.count(&e.counters.Cut)
	} else {
		e.count(&e.counters.CutFailed)
	}
}

func (e *Engine) nextHop(ev Event, p []byte) (NextHop, bool) {
	if ev.Reply {
		return e.cfg.Gateways.Gateway(packet.Addresses(p))
	}
	return e.cfg.Targets.Target(ev.Target)
}

// limit is the lower of two MTUs, of which 0 is none.
func limit(a, b int) int {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// sendCut sends a packet in as many fragments as the next hop's MTU makes
// necessary. Once one of them is lost, the others are of no use.
func (e *Engine) sendCut(hop NextHop, p []byte) bool {
	if hop.MTU <= 0 {
		hop.MTU = len(p)
	}
	frames, err := packet.CutIPv4(link(hop, packet.EtherIPv4), p, hop.MTU)
	if err != nil {
		return false
	}
	for _, frame := range frames {
		if !e.send(hop.Interface, frame) {
			return false
		}
		if len(frames) > 1 {
			e.count(&e.counters.Pieces)
		}
	}
	return true
}

func link(hop NextHop, ethertype uint16) []byte {
	return packet.Ethernet{Dst: hop.Dst, Src: hop.Src}.Frame(ethertype, nil)
}

// forward sends a later fragment to a target as the program would.
func (e *Engine) forward(f fragment, p []byte, target uint16) {
	hop, ok := e.cfg.Targets.Target(target)
	if !ok || packet.TTL(p) <= 1 {
		e.count(&e.counters.Undeliverable)
		return
	}
	packet.SetTTL(p, packet.TTL(p)-1)
	if hop.MTU > 0 && len(p) > hop.MTU {
		e.cutFragment(f, p, hop, target)
		return
	}
	ethertype := packet.EtherIPv4
	if p[0]>>4 == 6 {
		ethertype = packet.EtherIPv6
	}
	if e.send(hop.Interface, append(link(hop, ethertype), p...)) {
		e.countForwarded(target, len(f.frame))
	}
}

func (e *Engine) cutFragment(f fragment, p []byte, hop NextHop, target uint16) {
	switch {
	case !packet.MayFragment(p):
		e.count(&e.counters.Undeliverable)
	case !e.sendCut(hop, p):
		e.count(&e.counters.CutFailed)
	default:
		e.count(&e.counters.Cut)
		e.countForwarded(target, len(f.frame))
	}
}

// echo answers a later fragment of an echo request.
func (e *Engine) echo(f fragment, p []byte) {
	if group(f.frame) || group(f.frame[6:]) {
		e.count(&e.counters.Undeliverable)
		return
	}
	packet.SwapAddresses(p)
	packet.SetTTL(p, 64)
	if e.send(e.cfg.External, append(turned(f.frame[:f.l3]), p...)) {
		e.count(&e.counters.Echoed)
	}
}
