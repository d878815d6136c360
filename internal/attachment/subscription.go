// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"maps"
	"slices"
)

// Event is a changed or removed attachment.
type Event struct {
	Attachment Attachment
	Removed    bool
}

// Subscription gets the changes of the selected attachments.
type Subscription struct {
	m      *Manager
	filter Filter
	ready  chan struct{}
	// pending holds the newest event per attachment that was not read yet:
	// who reads slowly misses states in between. Guarded by Manager.mu.
	pending map[string]Event
}

// Subscribe returns the selected attachments as they are now and a
// subscription to all that happens to them since. It must be closed.
func (m *Manager) Subscribe(filter Filter) ([]Attachment, *Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Subscription{m: m, filter: filter, ready: make(chan struct{}, 1), pending: make(map[string]Event)}
	m.subscriptions[s] = struct{}{}
	return m.list(filter), s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	delete(s.m.subscriptions, s)
}

// Next waits for events and returns them sorted by name. The manager's end is
// an error.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.m.ctx.Done():
			return nil, errorf(Unavailable, "", "the agent is stopping")
		case <-s.ready:
		}
		// None when the call before has taken them just after they came.
		if events := s.take(); len(events) > 0 {
			return events, nil
		}
	}
}

func (s *Subscription) take() []Event {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	var events []Event
	for _, name := range slices.Sorted(maps.Keys(s.pending)) {
		events = append(events, s.pending[name])
	}
	clear(s.pending)
	return events
}

// notify is called with the lock held.
func (m *Manager) notify(e *entry) {
	removed := false
	select {
	case <-e.finished:
		removed = true
	default:
	}
	for s := range m.subscriptions {
		if !s.filter.selects(e) {
			continue
		}
		s.pending[e.spec.Name] = Event{Attachment: m.attachment(e), Removed: removed}
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}
