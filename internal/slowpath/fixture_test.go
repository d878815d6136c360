// SPDX-License-Identifier: Apache-2.0

package slowpath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-project/weft/internal/packet"
)

const (
	external = 1
	leg      = 2
	target   = 7 // leaves by leg, MTU 600
)

var (
	routerMAC  = packet.MAC{2, 0, 0, 0, 0, 1}
	extMAC     = packet.MAC{2, 0, 0, 0, 0, 2}
	legMAC     = packet.MAC{2, 0, 0, 1, 0, 0}
	targetMAC  = packet.MAC{2, 0, 0, 2, 0, 0}
	tags       = []packet.Tag{{Proto: packet.EtherQinQ, TCI: 5}, {Proto: packet.EtherVLAN, TCI: 0x2064}}
	fromClient = packet.Ethernet{Dst: extMAC, Src: routerMAC}
	tagged     = packet.Ethernet{Dst: extMAC, Src: routerMAC, Tags: tags}
	fromTarget = packet.Ethernet{Dst: legMAC, Src: targetMAC}
	toTarget   = packet.Ethernet{Dst: targetMAC, Src: legMAC}
	toClient   = packet.Ethernet{Dst: routerMAC, Src: extMAC}

	client4 = packet.IP{Src: netip.MustParseAddr("192.0.2.2"), Dst: netip.MustParseAddr("20.0.0.1"), TTL: 9}
	client6 = packet.IP{Src: netip.MustParseAddr("fd00::2"), Dst: netip.MustParseAddr("2000::1"), TTL: 9}
	reply4  = packet.IP{Src: client4.Dst, Dst: client4.Src, TTL: 9}
	reply6  = packet.IP{Src: client6.Dst, Dst: client6.Src, TTL: 9}

	errDown = errors.New("down")
)

// sent is a frame that left.
type sent struct {
	Interface int
	Frame     []byte
}

// world is what surrounds an engine. It records the order of calls.
type world struct {
	verdicts map[FragmentKey]FragmentVerdict
	hops     map[uint16]NextHop
	gate     NextHop
	gateway  bool
	down     map[int]bool
	onWait   func(on bool)

	waiting bool
	calls   []string
	sent    []sent
}

func newWorld() *world {
	return &world{
		verdicts: map[FragmentKey]FragmentVerdict{},
		hops: map[uint16]NextHop{
			target: {Interface: leg, Dst: targetMAC, Src: legMAC, MTU: 600},
			8:      {Interface: leg, Dst: targetMAC, Src: legMAC},
		},
		gate:    NextHop{Interface: external, Dst: routerMAC, Src: extMAC},
		gateway: true,
		down:    map[int]bool{},
	}
}

func (w *world) Target(id uint16) (NextHop, bool) {
	hop, ok := w.hops[id]
	return hop, ok
}

func (w *world) Gateway(src, dst netip.Addr) (NextHop, bool) {
	w.calls = append(w.calls, fmt.Sprintf("gateway %s %s", src, dst))
	return w.gate, w.gateway
}

func (w *world) Lookup(key FragmentKey) (FragmentVerdict, bool) {
	w.calls = append(w.calls, fmt.Sprintf("lookup %d", key.ID))
	v, ok := w.verdicts[key]
	return v, ok
}

func (w *world) SetWaiting(on bool) {
	w.calls = append(w.calls, fmt.Sprintf("waiting %v", on))
	w.waiting = on
	if w.onWait != nil {
		w.onWait(on)
	}
}

func (w *world) Send(ifindex int, frame []byte) error {
	if w.down[ifindex] {
		return errDown
	}
	w.sent = append(w.sent, sent{ifindex, slices.Clone(frame)})
	return nil
}

func (w *world) takeSent() []sent {
	s := w.sent
	w.sent = nil
	return s
}

func (w *world) takeCalls() []string {
	c := w.calls
	w.calls = nil
	return c
}

func newEngine(t testing.TB, w *world, change func(*Config)) *Engine {
	t.Helper()
	c := Config{External: external, Targets: w, Gateways: w, Fragments: w, Sender: w}
	if change != nil {
		change(&c)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// start is when the tests that do not run the engine's clock begin.
var start = time.Unix(1000, 0)

// event is one about a frame, which stays the caller's.
func event(kind Kind, frame []byte) Event {
	p, _ := packet.Parse(frame)
	return Event{Kind: kind, Frame: slices.Clone(frame), Length: len(frame), L3: p.L3}
}

// later is the n-th later fragment, of 16 bytes, of packet id.
func later(eth packet.Ethernet, ip packet.IP, id uint32, n int) []byte {
	data := fmt.Appendf(nil, "%07d %07d ", id, n)
	if ip.Src.Is6() {
		ip.Extensions = []packet.Extension{packet.FragmentHeader(uint16(2*n), true, id)}
		return ip.Packet(eth, packet.UDP, data)
	}
	ip.Fragment = uint16(2*n) | packet.FragmentMF
	return ip.Packet(eth, packet.UDP, data)
}

func key(ip packet.IP, id uint32) FragmentKey {
	k := FragmentKey{Src: ip.Src, Dst: ip.Dst, ID: id, Proto: packet.UDP}
	if ip.Src.Is6() {
		k.Proto = 0
	}
	return k
}

func park(ip packet.IP, id uint32, n int) Event {
	ev := event(Park, later(fromClient, ip, id, n))
	ev.Key = key(ip, id)
	return ev
}

func release(ip packet.IP, id uint32) Event { return Event{Kind: Release, Key: key(ip, id)} }
