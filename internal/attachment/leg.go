// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// leg is one connection of an attachment. One goroutine does everything with
// the connection; the fields are guarded by Manager.mu.
type leg struct {
	m        *Manager
	entry    *entry
	endpoint string
	// wake makes the goroutine look again; it has room for one.
	wake chan struct{}

	connection Connection
	standing   bool // the connection has been made and is not known to be lost
	closing    bool
	noted      bool  // the connection's id is stored
	unsure     bool  // a request may have made it without an answer
	requesting bool  // an attempt is under way
	again      bool  // something says: request again
	generation int64 // of the specification that stands
	turns      int   // attempts that have been settled
	tried      int64 // of the specification of the last finished attempt
	joined     []string
	refusals   map[string]error

	state    LegState
	since    time.Time
	err      error
	attempts int // in a row that failed, or were lost again soon
	upSince  time.Time
	due      time.Time // no attempt before
	refresh  time.Time // zero: never
}

// startLeg is called with the lock held; noted says that the connection is one
// that an earlier run has stored.
func (m *Manager) startLeg(e *entry, endpoint string, connection Connection, noted bool) {
	l := &leg{
		m: m, entry: e, endpoint: endpoint, connection: connection, noted: noted,
		unsure: noted && connection.State == nil, wake: make(chan struct{}, 1),
	}
	l.setState(Connecting)
	e.legs[endpoint] = l
	m.spawn(l.run)
}

func (l *leg) setState(state LegState) {
	if l.state != state {
		l.state, l.since = state, time.Now()
	}
}

func (l *leg) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// close makes the leg close at once. Called with the lock held.
func (l *leg) close() {
	if !l.closing {
		l.closing, l.due, l.attempts = true, time.Time{}, 0
		l.setState(Closing)
	}
}

// run turns until the leg is closed or the manager stops.
func (l *leg) run() {
	ctx, cancel := context.WithCancel(l.m.ctx)
	defer cancel()
	watch := l.monitor(ctx)
	for {
		action, at := l.next()
		switch action {
		case actClose:
			if l.tryClose(ctx) {
				cancel()
				<-watch.done
				l.end()
				return
			}
		case actRequest:
			l.tryRequest(ctx)
			watch.poke()
		case actWait:
			if !l.sleep(ctx, at) {
				<-watch.done
				return
			}
		}
	}
}

func (l *leg) sleep(ctx context.Context, until time.Time) bool {
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.wake:
	case <-alarm:
	}
	return true
}

type action int

const (
	actWait action = iota
	actRequest
	actClose
)

// next compares what is wanted with what stands.
func (l *leg) next() (action, time.Time) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.ctx.Err() != nil {
		return actWait, time.Time{}
	}
	now := time.Now()
	wanted := actWait
	switch {
	case l.closing:
		wanted = actClose
	case !l.standing, l.again, l.err != nil, l.generation != l.entry.generation,
		!l.refresh.IsZero() && !now.Before(l.refresh):
		wanted = actRequest
	}
	if wanted == actRequest && l.tried != l.entry.generation {
		return wanted, time.Time{} // a new specification does not wait for the old one's turn
	}
	if wanted == actWait {
		return actWait, l.refresh
	}
	if now.Before(l.due) {
		return actWait, l.due
	}
	return wanted, time.Time{}
}

// tryRequest requests once.
func (l *leg) tryRequest(ctx context.Context) {
	l.m.note(l)
	l.m.mu.Lock()
	if l.connection.State == nil {
		l.unsure, l.connection.Expires = true, time.Now().Add(l.m.Lifetime)
	}
	spec, generation := l.entry.spec.clone(), l.entry.generation
	l.again, l.requesting = false, true
	if l.standing && l.generation != generation {
		l.setState(Updating)
		l.m.publish(l.entry)
	}
	attempt := attempt{leg: l, spec: spec, whole: l.entry.whole == generation, connection: l.connection, joined: l.joined, made: l.connection.State != nil}
	l.m.mu.Unlock()

	err := attempt.do(ctx)
	l.m.mu.Lock()
	l.requesting = false
	l.m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	iface := l.observe(spec, attempt.made)

	l.m.mu.Lock()
	fresh := !bytes.Equal(l.connection.State, attempt.connection.State)
	l.connection, l.joined, l.refusals = attempt.connection, attempt.joined, attempt.refusals
	l.unsure = l.connection.State == nil && (isAway(err) || attempt.unsure)
	l.tried = generation
	l.turns++
	l.settle(err, attempt.succeeded, generation)
	if iface != nil {
		l.entry.iface = iface
	}
	l.m.publish(l.entry)
	l.m.mu.Unlock()
	if fresh {
		l.m.keep(l.entry)
	}
}

// settle notes the outcome of an attempt. Called with the lock held.
func (l *leg) settle(err error, succeeded bool, generation int64) {
	now := time.Now()
	if err != nil {
		l.stumble(now)
	}
	if succeeded {
		if !l.standing || l.err != nil {
			l.upSince = now
		}
		l.standing = true
		l.refresh = refreshAt(now, l.connection.Expires)
	}
	back := err == nil && isAway(l.err)
	l.fail(err)
	if back {
		l.m.hasten(l.endpoint)
	}
	if err != nil {
		if expires := l.connection.Expires; !expires.IsZero() && now.After(expires) {
			l.standing = false
		}
		if !l.closing { // closing does not wait
			l.due = now.Add(l.m.pause(l.attempts, err))
			l.setState(Retrying)
		}
		l.m.Log.Warn("requesting leg", "attachment", l.entry.spec.Name, "endpoint", l.endpoint,
			"conn", l.connection.ID, "attempt", l.attempts, "err", err)
		return
	}
	l.generation, l.due = generation, time.Time{}
	if !l.closing && generation == l.entry.generation {
		l.setState(Up)
	}
}

// stumble counts a failed attempt or a loss. The first one after the leg has
// stood for a while begins a new count.
func (l *leg) stumble(now time.Time) {
	if l.standing && l.err == nil && now.Sub(l.upSince) >= l.m.StableAfter {
		l.attempts = 0
	}
	l.attempts++
}

// monitored notes why the connection needs another request.
func (l *leg) monitored(reason error) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	refresh := errors.Is(reason, ErrRefresh)
	switch {
	case l.closing || !l.standing:
		return
	case l.requesting && !refresh:
		// The request under way settles it, and the monitor looks again
		// afterwards. Refusing a request makes the mesh tell that the
		// connection is down though it stands.
		return
	case l.err != nil && !refresh:
		return // it is tried again anyway
	}
	l.again = true
	l.rouse()
	if refresh {
		return
	}
	now := time.Now()
	if l.stumble(now); l.attempts > 1 {
		l.due = now.Add(l.m.pause(l.attempts, reason))
	}
	l.m.Log.Warn("leg needs another request", "attachment", l.entry.spec.Name, "endpoint", l.endpoint,
		"conn", l.connection.ID, "err", reason)
	if errors.Is(reason, ErrLost) {
		l.standing = false
		l.setState(Retrying)
		l.m.publish(l.entry)
	}
}

// observe looks at the interface in the workload's namespace.
func (l *leg) observe(spec Spec, made bool) *Interface {
	if !made {
		return nil
	}
	iface, err := l.m.Interfaces.Interface(l.m.Namespaces.Path(spec.NetNS), spec.Interface)
	if err != nil {
		return nil
	}
	return &iface
}

// unwanted says that the leg is to be closed.
func (l *leg) unwanted() bool {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.closing
}

// tryClose closes once and reports whether the leg is done.
func (l *leg) tryClose(ctx context.Context) bool {
	l.m.mu.Lock()
	request := l.request(l.entry.spec, l.connection, l.joined)
	made := l.connection.State != nil || l.unsure
	l.m.mu.Unlock()
	if !made {
		return true
	}
	err := l.m.inSlot(ctx, l.endpoint, func(ctx context.Context) error { return l.m.Mesh.Close(ctx, request) })
	if err == nil {
		return true
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	now := time.Now()
	// Everybody on the path has dropped an expired connection by itself.
	expired := !l.connection.Expires.IsZero() && now.After(l.connection.Expires)
	l.attempts++
	l.fail(err)
	l.due = now.Add(l.m.pause(l.attempts, err))
	l.m.Log.Warn("closing leg", "attachment", l.entry.spec.Name, "endpoint", l.endpoint,
		"conn", l.connection.ID, "attempt", l.attempts, "expired", expired, "err", err)
	l.m.publish(l.entry)
	return expired
}

// end takes the leg out of its attachment.
func (l *leg) end() {
	l.m.mu.Lock()
	l.fail(nil)
	delete(l.entry.legs, l.endpoint)
	if len(l.entry.legs) == 0 {
		l.entry.iface = nil
	}
	l.m.reconcile(l.entry)
	l.m.mu.Unlock()
	l.m.keep(l.entry)
}

func (l *leg) request(spec Spec, connection Connection, streams []string) Request {
	return Request{
		Connection: connection, Service: spec.NetworkService, Endpoint: l.endpoint,
		Target: l.entry.target, NetNS: spec.NetNS, Interface: spec.Interface, MAC: MAC(l.entry.target),
		Streams: slices.Clone(streams), Labels: spec.Labels, Addresses: spec.Addresses,
	}
}

// inSlot runs fn when there are not too many others, with the time limit of a
// request.
func (m *Manager) inSlot(ctx context.Context, endpoint string, fn func(context.Context) error) error {
	slot := m.slot(endpoint)
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, m.RequestTimeout)
	defer cancel()
	err := fn(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("no answer within %v: %w", m.RequestTimeout, err)
	}
	return err
}

// refreshMin is the shortest time between refreshes. A clock somewhere on the path
// that is behind ours makes connections that have expired already.
const refreshMin = time.Second

// refreshAt leaves two more turns before the connection expires.
func refreshAt(now, expires time.Time) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	turn := time.Duration(float64(expires.Sub(now)) * (0.3 + 0.03*rand.Float64()))
	return now.Add(max(turn, refreshMin))
}
