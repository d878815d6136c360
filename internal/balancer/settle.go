// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// stream is a configured stream and the table that is in force for it.
type stream struct {
	name       string
	id         uint32
	size       uint32
	maxTargets int
	removed    bool // no longer configured: clear the table, free the number

	// The settler's queue: want counts the changes, done those the table in
	// force reflects, tried those of the last attempt, which ended with err.
	want, done, tried uint64
	urgent            bool
	order             uint64
	err               error
	failures          int
	notBefore         time.Time

	table map[string]share // in force, by name; also when it is empty
	slots uint32           // size of the table in force, 0 = cleared
}

// share is what a target has of a table.
type share struct {
	target *target
	weight uint16
	slots  int
}

// await is a state of a stream to wait for.
type await struct {
	stream *stream
	want   uint64
}

// touch queues a stream for a new table. The caller holds the lock.
func (b *Balancer) touch(s *stream, urgent bool) await {
	if s.want == s.done {
		b.order++
		s.order = b.order
	}
	s.want++
	if urgent {
		s.urgent, s.notBefore = true, time.Time{}
	}
	b.rouse()
	return await{s, s.want}
}

// rouse wakes the settler.
func (b *Balancer) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// touchAll queues the streams that a target wants or is in.
func (b *Balancer) touchAll(t *target, urgent bool) []await {
	affected := maps.Clone(t.tables)
	for _, name := range t.streams {
		if s := b.streams[name]; s != nil {
			affected[s] = true
		}
	}
	var waitFor []await
	for s := range affected {
		waitFor = append(waitFor, b.touch(s, urgent))
	}
	return waitFor
}

// await returns when the tables in force reflect the given states, or with the
// error of the attempt that did not reach one.
func (b *Balancer) await(ctx context.Context, states []await) error {
	for _, state := range states {
		for {
			b.mu.Lock()
			s, changed := state.stream, b.changed
			done, tried, err := s.done >= state.want, s.tried >= state.want, s.err
			b.mu.Unlock()
			if done {
				break
			}
			if tried && err != nil {
				return err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return fmt.Errorf("wait for the table of stream %q: %w", state.stream.name, ctx.Err())
			case <-b.ctx.Done():
				return ErrClosed
			}
		}
	}
	return nil
}

// settle builds and flips tables until the balancer is closed.
func (b *Balancer) settle() {
	timer := time.NewTimer(lastPause)
	defer timer.Stop()
	for b.ctx.Err() == nil {
		b.sweep()
		s, again := b.next()
		if s != nil {
			b.build(s)
			continue
		}
		b.closeRetired()
		timer.Reset(again)
		select {
		case <-b.wake:
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// next returns the stream whose turn it is, or how long to wait for one that
// has failed before.
func (b *Balancer) next() (*stream, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, again := time.Now(), lastPause
	var first *stream
	for s := range b.dirty() {
		if until := s.notBefore.Sub(now); until > 0 {
			again = min(again, until)
			continue
		}
		if first == nil || s.urgent && !first.urgent || s.urgent == first.urgent && s.order < first.order {
			first = s
		}
	}
	return first, again
}

func (b *Balancer) dirty() func(func(*stream) bool) {
	return func(yield func(*stream) bool) {
		for _, s := range b.streams {
			if s.want != s.done && !yield(s) {
				return
			}
		}
		for _, s := range b.leaving {
			if s.want != s.done && !yield(s) {
				return
			}
		}
	}
}

// plan is what the settler read under the lock before it builds without it.
type plan struct {
	want    uint64
	size    uint32
	removed bool     // the stream is no longer configured
	places  []place  // of the targets that have joined, with slots or without
	members []member // that are to have slots, sorted by name
}

// place is where the leg of a target is.
type place struct {
	*target
	at  lb.Target
	set bool // the data plane knows it there
}

type member struct {
	*target
	weight uint16
}

func (b *Balancer) plan(s *stream) plan {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := plan{want: s.want, size: s.size, removed: s.removed}
	s.urgent = false
	if p.removed {
		return p
	}
	for _, t := range b.targets {
		l := t.leg()
		if l == nil || !slices.Contains(t.joined(), s.name) {
			continue
		}
		at := lb.Target{IfIndex: l.index, MAC: l.mac, LegMAC: l.legMAC, MTU: l.mtu}
		p.places = append(p.places, place{t, at, t.isSet && same(at, t.set)})
		if weight := t.share(); weight > 0 {
			p.members = append(p.members, member{t, weight})
		}
	}
	slices.SortFunc(p.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return p
}

func same(a, b lb.Target) bool {
	return a.IfIndex == b.IfIndex && a.MTU == b.MTU && slices.Equal(a.MAC, b.MAC) && slices.Equal(a.LegMAC, b.LegMAC)
}

// build brings the table of one stream in step: first the targets get their
// places, then the table with them is flipped in, then the targets that no
// table has any more are dropped.
func (b *Balancer) build(s *stream) {
	p := b.plan(s)
	err := b.place(p.places)
	var table []uint16
	if err == nil {
		table, err = b.write(s, p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.notify()
	s.tried, s.err = p.want, err
	if err != nil {
		s.notBefore = time.Now().Add(pause(s.failures))
		s.failures++
		b.log.Warn("table stays as it was", "stream", s.name, "err", err)
		return
	}
	s.done, s.failures = p.want, 0
	if table != nil || len(p.members) == 0 {
		s.flipped(p, table)
	}
	if p.removed { // not if it was removed meanwhile: then its table is yet to be cleared
		b.leaving = slices.DeleteFunc(b.leaving, func(other *stream) bool { return other == s })
		b.streamID.free(int(s.id))
	}
}

// flipped notes the table of a plan, that is in force now. The caller holds the
// lock.
func (s *stream) flipped(p plan, table []uint16) {
	slots := make([]int32, 1+math.MaxUint16) // a map takes longer than all the rest
	for _, id := range table {
		slots[id]++
	}
	before := s.table
	s.table = map[string]share{}
	for _, m := range p.members {
		s.table[m.name] = share{m.target, m.weight, int(slots[m.id])}
		m.tables[s] = true
	}
	for name, old := range before {
		if s.table[name].target != old.target {
			delete(old.target.tables, s)
		}
	}
}

// place tells the data plane where the targets are. Those without slots are
// placed, too: flows that were sent to them before are still to reach them.
func (b *Balancer) place(places []place) error {
	for _, t := range places {
		if t.set {
			continue
		}
		if err := b.dp.SetTarget(t.id, t.at); err != nil {
			return fmt.Errorf("place target %q: %w", t.name, err)
		}
		b.mu.Lock()
		t.target.set, t.isSet = t.at, true
		b.mu.Unlock()
	}
	return nil
}

// write puts the table of a plan in force and returns it, nil when it is the
// one in force already or none. Only the settler reads and writes s.table and
// s.slots without the lock.
func (b *Balancer) write(s *stream, p plan) ([]uint16, error) {
	var all []uint16
	for _, t := range p.places {
		all = append(all, t.id)
	}
	if err := b.dp.SetMembers(s.id, all); err != nil {
		return nil, fmt.Errorf("write members of stream %q: %w", s.name, err)
	}
	if len(p.members) == 0 {
		if s.slots != 0 || p.removed {
			if err := b.dp.ClearTable(s.id); err != nil {
				return nil, fmt.Errorf("clear table of stream %q: %w", s.name, err)
			}
		}
		s.slots = 0
		return nil, nil
	}
	names, weights := make([]string, len(p.members)), make([]uint16, len(p.members))
	unchanged := s.slots == p.size && len(s.table) == len(p.members)
	for i, m := range p.members {
		names[i], weights[i] = m.name, m.weight
		old := s.table[m.name]
		unchanged = unchanged && old.target == m.target && old.weight == m.weight
	}
	if unchanged {
		return nil, nil
	}
	table, err := maglev.BuildWeighted(p.size, names, weights)
	if err != nil {
		return nil, fmt.Errorf("build table of stream %q: %w", s.name, err)
	}
	for i, slot := range table {
		table[i] = p.members[slot-1].id
	}
	if err := b.dp.SetTable(s.id, table); err != nil {
		return nil, fmt.Errorf("write table of stream %q: %w", s.name, err)
	}
	s.slots = p.size
	return table, nil
}
