// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Target is a workload's wish, brought by one connection, to receive traffic.
type Target struct {
	Name       string           // stable; decides the target's slots
	Connection string           // that brings the leg
	Interface  string           // the leg's, in the replica's namespace
	MAC        net.HardwareAddr // of the workload's interface
	LegMAC     net.HardwareAddr // of the leg's interface
	Streams    []string         // that it joins, in any order
	// Weight scales its share of the slots: 0 to maglev.MaxWeight, nil = 1. With
	// 0 it gets no slots.
	Weight *uint16
	// Draining takes its slots, too: it gets no new flows. Like one of weight 0
	// it stays placed in the data plane, so that what was sent to it before
	// still reaches it.
	Draining bool
	// Hold names those of Streams that the workload may not be ready for. Ones
	// that the target newly joins send it nothing before it is registered
	// without holding them, or HoldLimit has passed.
	Hold []string
}

// HoldLimit bounds how long a target is held from a stream.
const HoldLimit = time.Second

// target is everything known about one name.
type target struct {
	name    string
	id      uint16
	streams []string // wanted by the newest registration; sorted
	held    []string // of streams, but not in their tables yet
	release *time.Timer
	weight  uint16
	drains  bool
	legs    []*leg // oldest first; none when the target has gone
	set     lb.Target
	isSet   bool             // whether the data plane knows id, as set
	tables  map[*stream]bool // streams whose table in force has it
}

// joined returns the streams that are to send the target traffic.
func (t *target) joined() []string {
	return slices.DeleteFunc(slices.Clone(t.streams), func(name string) bool { return slices.Contains(t.held, name) })
}

// share returns the weight that counts.
func (t *target) share() uint16 {
	if t.drains {
		return 0
	}
	return t.weight
}

// leg returns the newest leg that works, nil when there is none.
func (t *target) leg() *leg {
	for _, l := range slices.Backward(t.legs) {
		if l.up {
			return l
		}
	}
	return nil
}

// Register makes a target of t or changes the one that its connection brought
// before; it may be repeated. It returns when the streams that the target no
// longer wants have tables without it, and, if its leg works, the ones it wants
// have tables with it at its weight. Streams that are not configured are refused with an
// UnknownStreamError, but for those that the target has joined before and the
// configuration has lost since: it is back in them as soon as they are.
func (b *Balancer) Register(ctx context.Context, t Target) error {
	streams := slices.Compact(slices.Sorted(slices.Values(t.Streams)))
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	known, err := b.admit(t, streams)
	if err != nil {
		b.mu.Unlock()
		return err
	}
	before := known.joined()
	known.streams = streams
	b.hold(known, before, t.Hold)
	b.setLeg(known, t)
	waitFor := append(b.rejoin(known, before), b.weigh(known, t)...)
	b.notify()
	b.mu.Unlock()
	return b.await(ctx, waitFor)
}

// weigh gives a target the weight of a registration. If that changes its share,
// it queues the streams that the target has joined, and returns what to wait
// for; one that is to get no more traffic goes first.
func (b *Balancer) weigh(t *target, wish Target) []await {
	before := t.share()
	t.weight, t.drains = maglev.DefaultWeight, wish.Draining
	if wish.Weight != nil {
		t.weight = *wish.Weight
	}
	if t.share() == before {
		return nil
	}
	var waitFor []await
	for _, name := range t.joined() {
		if s := b.streams[name]; s != nil {
			if state := b.touch(s, t.share() == 0); t.leg() != nil {
				waitFor = append(waitFor, state)
			}
		}
	}
	return waitFor
}

// rejoin queues the streams that differ from those a target had joined before,
// and returns what to wait for.
func (b *Balancer) rejoin(t *target, before []string) []await {
	var waitFor []await
	now := t.joined()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(before, now)))) {
		s, leaves := b.streams[name], !slices.Contains(now, name)
		if s == nil || leaves != slices.Contains(before, name) {
			continue
		}
		if state := b.touch(s, leaves); leaves || t.leg() != nil {
			waitFor = append(waitFor, state)
		}
	}
	return waitFor
}

// hold keeps a target out of the tables of streams that it has not joined yet,
// for a limited time.
func (b *Balancer) hold(t *target, joined, hold []string) {
	if t.release != nil {
		t.release.Stop()
	}
	t.held = slices.DeleteFunc(slices.Clone(hold), func(name string) bool { return slices.Contains(joined, name) })
	if len(t.held) == 0 {
		return
	}
	var release *time.Timer
	release = time.AfterFunc(HoldLimit, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.release != release || b.closed {
			return
		}
		before := t.joined()
		t.held = nil
		b.rejoin(t, before)
		b.notify()
	})
	t.release = release
}

// admit checks a registration against what there is, and returns its target,
// new when it has to be. It changes nothing when it returns an error.
func (b *Balancer) admit(t Target, streams []string) (*target, error) {
	if t.Weight != nil && *t.Weight > maglev.MaxWeight {
		return nil, fmt.Errorf("%w: %d is more than %d", ErrWeight, *t.Weight, maglev.MaxWeight)
	}
	if l := b.legs[t.Interface]; l != nil && l.connection != t.Connection {
		return nil, fmt.Errorf("%w: %s", ErrInterfaceTaken, t.Interface)
	}
	known := b.targets[t.Name]
	for _, name := range streams {
		if known != nil && len(known.legs) > 0 && slices.Contains(known.streams, name) {
			continue
		}
		s := b.streams[name]
		if s == nil {
			return nil, &UnknownStreamError{Stream: name}
		}
		if b.members(name) >= s.maxTargets {
			return nil, &MaxTargetsError{Stream: name, Max: s.maxTargets}
		}
	}
	if known != nil {
		return known, nil
	}
	id, ok := b.targetID.take()
	if !ok {
		return nil, ErrTooManyTargets
	}
	known = &target{name: t.Name, id: uint16(id), weight: maglev.DefaultWeight, tables: map[*stream]bool{}}
	b.targets[t.Name] = known
	return known, nil
}

// members counts the targets that want a stream, working or not.
func (b *Balancer) members(stream string) int {
	n := 0
	for _, t := range b.targets {
		if len(t.legs) > 0 && slices.Contains(t.streams, stream) {
			n++
		}
	}
	return n
}

// setLeg adds the leg of a registration to its target or changes it. One that
// the same connection brought under another target or interface name goes.
func (b *Balancer) setLeg(known *target, t Target) {
	for _, l := range b.legs {
		if l.connection == t.Connection && (l.target != known || l.iface != t.Interface) {
			b.removeLeg(l)
		}
	}
	l := b.legs[t.Interface]
	if l == nil {
		l = &leg{target: known, connection: t.Connection, iface: t.Interface}
		b.legs[t.Interface] = l
		known.legs = append(known.legs, l)
	}
	if l.mac.String() != t.MAC.String() || l.legMAC.String() != t.LegMAC.String() {
		l.mac, l.legMAC = slices.Clone(t.MAC), slices.Clone(t.LegMAC)
		b.touchAll(known, false)
	}
	b.follow(l)
}

// Unregister removes what the connection registered. When it returns nil no
// packet is sent to its leg any more; what still comes from it goes its way
// until the link is gone. A connection that is not registered has
// been removed already.
func (b *Balancer) Unregister(ctx context.Context, connection string) error {
	b.mu.Lock()
	var waitFor []await
	for _, l := range b.legs {
		if l.connection == connection {
			waitFor = b.removeLeg(l)
			break
		}
	}
	b.mu.Unlock()
	return b.await(ctx, waitFor)
}

// removeLeg takes a leg from its target and, if it was the last, the target
// from its streams. The caller holds the lock.
func (b *Balancer) removeLeg(l *leg) []await {
	delete(b.legs, l.iface)
	t := l.target
	t.legs = slices.DeleteFunc(t.legs, func(other *leg) bool { return other == l })
	l.up = false
	waitFor := b.touchAll(t, true)
	if len(t.legs) == 0 {
		t.streams = nil
	}
	b.rouse()
	b.notify()
	return waitFor
}

// sweep drops the targets that no table in force has: those whose legs do not
// work leave the data plane, those without a leg are forgotten. Only the settler
// calls it, so that no target goes while a table with it is being flipped in.
func (b *Balancer) sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, t := range b.targets {
		if len(t.tables) > 0 || t.leg() != nil {
			continue
		}
		if t.isSet {
			if err := b.dp.DeleteTarget(t.id); err != nil {
				b.log.Warn("target stays in the data plane", "target", name, "err", err)
			}
			t.isSet = false
		}
		if len(t.legs) == 0 {
			b.hold(t, nil, nil)
			delete(b.targets, name)
			b.targetID.free(int(t.id))
			b.notify()
		}
	}
}
