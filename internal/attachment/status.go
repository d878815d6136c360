// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// publish computes the conditions anew and tells those who watch. Called with
// the lock held.
func (m *Manager) publish(e *entry) {
	tried := true
	for _, l := range e.legs {
		tried = tried && l.tried == e.generation
	}
	if tried {
		e.observed = e.generation
	}
	e.setStreams()
	e.setConditions(m.accepted(e), e.programmed(), m.ready(e))
	close(e.changed)
	e.changed = make(chan struct{})
	m.notify(e)
}

// setConditions keeps the transition times of those that stay.
func (e *entry) setConditions(conditions ...Condition) {
	now := time.Now()
	for i := range conditions {
		conditions[i].LastTransition = now
		for _, old := range e.conditions {
			if old.Type == conditions[i].Type && old.Status == conditions[i].Status {
				conditions[i].LastTransition = old.LastTransition
			}
		}
	}
	e.conditions = conditions
}

// sortedLegs are those that are wanted, by endpoint.
func (e *entry) sortedLegs() []*leg {
	var legs []*leg
	for _, endpoint := range slices.Sorted(maps.Keys(e.legs)) {
		if l := e.legs[endpoint]; !l.closing {
			legs = append(legs, l)
		}
	}
	return legs
}

// refusal is the first endpoint's decision against the specification.
func (e *entry) refusal() error {
	for _, l := range e.sortedLegs() {
		if l.tried == e.generation && l.err != nil && refused(l.err) {
			return l.err
		}
	}
	return e.unassigned()
}

// unassigned reports a wanted address that no endpoint has in its prefixes. It
// takes all of them to know: each has prefixes of its own.
func (e *entry) unassigned() error {
	legs := e.sortedLegs()
	if len(legs) == 0 || slices.ContainsFunc(legs, func(l *leg) bool { return l.tried != e.generation || !l.standing }) {
		return nil
	}
	for _, wanted := range e.spec.Addresses {
		if !slices.ContainsFunc(legs, func(l *leg) bool {
			return slices.ContainsFunc(l.connection.Addresses, func(p netip.Prefix) bool { return p.Addr() == wanted.Addr() })
		}) {
			return errorf(Invalid, "addresses", "%s is not an address that an endpoint of %q can give", wanted, e.spec.NetworkService)
		}
	}
	return nil
}

func (m *Manager) accepted(e *entry) Condition {
	condition := Condition{Type: Accepted, Status: Unknown}
	legs := e.sortedLegs()
	switch err := e.refusal(); {
	case err != nil:
		condition.Status, condition.Reason, condition.Message = False, ReasonRefused, err.Error()
	case slices.ContainsFunc(legs, func(l *leg) bool { return l.standing && l.generation == e.generation }):
		condition.Status, condition.Reason = True, ReasonAccepted
	case len(legs) == 0 && m.endpointsKnown(e):
		condition.Reason, condition.Message = ReasonNoEndpoint, noEndpoint(e)
	default:
		condition.Reason, condition.Message = ReasonPending, "no endpoint has answered yet"
	}
	return condition
}

func (e *entry) programmed() Condition {
	legs := e.sortedLegs()
	standing := 0
	for _, l := range legs {
		if l.standing {
			standing++
		}
	}
	condition := Condition{Type: Programmed, Status: False, Reason: ReasonNotConnected,
		Message: fmt.Sprintf("%d of %d legs stand", standing, len(legs))}
	if standing > 0 {
		condition.Status, condition.Reason = True, ReasonConnected
	}
	return condition
}

func (m *Manager) ready(e *entry) Condition {
	condition := Condition{Type: Ready, Status: False}
	legs := e.sortedLegs()
	up, pending := 0, 0
	var trouble []string
	for _, l := range legs {
		stands := l.standing && l.generation == e.generation
		switch {
		case stands:
			up++
		case l.tried != e.generation:
			pending++
		case l.err == nil:
			trouble = append(trouble, fmt.Sprintf("endpoint %s: connection lost", l.endpoint))
		}
		if l.err != nil && (stands || l.tried == e.generation) {
			trouble = append(trouble, l.err.Error())
		}
	}
	refusal := e.refusal()
	switch {
	case e.gone:
		condition.Reason, condition.Message = ReasonNamespaceGone, e.removed
	case e.removed != "":
		condition.Reason, condition.Message = ReasonDetaching, e.removed
	case len(legs) == 0 && m.endpointsKnown(e):
		condition.Reason, condition.Message = ReasonNoEndpoint, noEndpoint(e)
	case refusal != nil:
		condition.Reason, condition.Message = ReasonRefused, refusal.Error()
	case pending > 0 || len(legs) == 0:
		condition.Reason, condition.Message = ReasonConnecting, fmt.Sprintf("%d of %d legs stand", up, len(legs))
	case up == 0:
		condition.Reason, condition.Message = ReasonFailed, strings.Join(trouble, "; ")
	case up < len(legs):
		condition.Status, condition.Reason = True, ReasonSomeLegs
	default:
		condition.Status, condition.Reason = True, ReasonAllLegs
	}
	if condition.Status == True {
		condition.Message = strings.Join(append([]string{fmt.Sprintf("%d of %d legs stand", up, len(legs))}, trouble...), "; ")
	}
	if e.unstored != nil {
		condition.Message += "; not stored, an agent that is restarted now knows an older state: " + e.unstored.Error()
	}
	return condition
}

func (m *Manager) endpointsKnown(e *entry) bool {
	s := m.services[e.spec.NetworkService]
	return s != nil && s.known
}

func noEndpoint(e *entry) string {
	return fmt.Sprintf("network service %q has no endpoint", e.spec.NetworkService)
}

// attachment is a copy of the entry for the outside. Called with the lock held.
func (m *Manager) attachment(e *entry) Attachment {
	status := Status{
		ObservedGeneration: e.observed,
		Conditions:         slices.Clone(e.conditions),
		Target:             e.target,
		LastError:          m.lastError(e),
		Streams:            slices.Clone(e.streams),
	}
	if !e.gone {
		status.NetNSPath = m.Namespaces.Path(e.spec.NetNS)
	}
	if e.iface != nil {
		status.Interface = e.observedInterface()
	}
	for _, endpoint := range slices.Sorted(maps.Keys(e.legs)) {
		l := e.legs[endpoint]
		shown := Leg{Endpoint: endpoint, State: l.state, ConnectionID: l.connection.ID, Since: l.since}
		if l.err != nil {
			shown.LastError, shown.RetryAt = l.err.Error(), l.due
		}
		status.Legs = append(status.Legs, shown)
	}
	return Attachment{Spec: e.spec.clone(), Generation: e.generation, Created: e.created, Status: status}
}

// lastError is the newest that stands.
func (m *Manager) lastError(e *entry) string {
	var newest *leg
	for _, l := range e.legs {
		if l.err != nil && (newest == nil || l.due.After(newest.due)) {
			newest = l
		}
	}
	switch {
	case newest != nil:
		return newest.err.Error()
	case e.unstored != nil:
		return e.unstored.Error()
	}
	return ""
}

func (e *entry) observedInterface() *Interface {
	iface := *e.iface
	iface.Addresses, iface.VIPs = nil, nil
	for _, l := range e.sortedLegs() {
		iface.Addresses = append(iface.Addresses, l.connection.Addresses...)
		iface.VIPs = append(iface.VIPs, l.connection.VIPs...)
	}
	iface.Addresses, iface.VIPs = unique(iface.Addresses), unique(iface.VIPs)
	return &iface
}

func unique(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	return slices.Compact(prefixes)
}

// setStreams tells of each wanted stream.
func (e *entry) setStreams() {
	now := time.Now()
	var streams []Stream
	for _, name := range e.spec.Streams {
		var old Stream
		if i := slices.IndexFunc(e.streams, func(s Stream) bool { return s.Name == name }); i >= 0 {
			old = e.streams[i]
		}
		stream := e.stream(name, old.State == StreamJoined)
		if stream.Since = now; stream.State == old.State {
			stream.Since = old.Since
		}
		streams = append(streams, stream)
	}
	e.streams = streams
}

// stream tells of one wanted stream: it is joined when no leg refuses it, one
// has it, and the others have been tried. A new leg does not unjoin it.
func (e *entry) stream(name string, wasJoined bool) Stream {
	joined, untried := false, false
	for _, l := range e.sortedLegs() {
		if err, ok := l.refusals[name]; ok {
			return Stream{Name: name, State: StreamRefused, Kind: KindOf(err), Message: err.Error()}
		}
		if l.standing && slices.Contains(l.joined, name) {
			joined = true
		} else if l.tried != e.generation {
			untried = true
		}
	}
	if joined && (wasJoined || !untried) {
		return Stream{Name: name, State: StreamJoined}
	}
	return Stream{Name: name, State: StreamPending}
}

// unknownGrace is how long a wait goes on though an endpoint does not know what
// is asked for: it may be about to learn of it, from resources that were applied
// just before.
const unknownGrace = 2 * time.Second

// await waits until that generation is ready. A refusal ends the wait at once,
// but for unknownGrace.
func (m *Manager) await(ctx context.Context, e *entry, generation int64, wait time.Duration) (Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	grace, cancelGrace := context.WithTimeout(ctx, unknownGrace)
	defer cancelGrace()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.whole == generation {
			e.whole = 0
		}
	}()
	for {
		m.mu.Lock()
		now, changed, refusal := m.attachment(e), e.changed, e.refusal()
		superseded, removed := e.generation != generation, e.removed
		m.mu.Unlock()
		ready := now.Condition(Ready)
		learning := KindOf(refusal) == NotFound && grace.Err() == nil
		var learned <-chan struct{}
		if learning {
			learned = grace.Done()
		}
		switch {
		case removed != "":
			return now, errorf(Precondition, "", "attachment %q is being removed: %s", now.Spec.Name, removed)
		case superseded:
			return now, errorf(Precondition, "", "attachment %q has been changed again meanwhile", now.Spec.Name)
		case refusal != nil && !learning:
			return now, refusal
		case ready.Status == True && now.Status.ObservedGeneration == generation:
			return now, nil
		}
		select {
		case <-changed:
		case <-learned:
		case <-m.ctx.Done():
			return now, errorf(Unavailable, "", "the agent is stopping")
		case <-ctx.Done():
			if refusal != nil {
				return now, refusal
			}
			return now, notReady(ctx, now.Spec, ready)
		}
	}
}

func notReady(ctx context.Context, spec Spec, ready Condition) error {
	err := errorf(Deadline, "", "attachment %q is not ready: %s (%s)", spec.Name, ready.Message, ready.Reason)
	if ready.Reason == ReasonNoEndpoint {
		err = errorf(NotFound, "network_service", "%q has no endpoint", spec.NetworkService)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.Join(err, ctx.Err())
	}
	return err
}
