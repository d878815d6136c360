// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"math/rand/v2"
	"time"
)

// How legs come back. What is out of reach is tried again within AwayMax, so that
// a leg stands within a second after whatever was missing is back; when many
// legs are out of reach together, that time grows with their number, so that all
// of them together try no more often than every AwayPace. That is no loss: the
// first one to succeed hastens the others of its endpoint, and the mesh's word
// that it can be reached again hastens all.
const (
	// AwayMax is the longest pause of a leg that is alone.
	AwayMax = 600 * time.Millisecond
	// AwayPace is the time between two attempts of all legs together.
	AwayPace = 20 * time.Millisecond

	hastenEach = 2 * time.Millisecond
	hastenMax  = 400 * time.Millisecond
)

// isAway reports whether the error is a failure to reach the endpoint.
func isAway(err error) bool { return err != nil && !refused(err) }

// fail notes how the last attempt has ended. Called with the lock held.
func (l *leg) fail(err error) {
	if isAway(l.err) {
		l.m.away--
	}
	if l.err = err; isAway(err) {
		l.m.away++
	}
}

// pause is the time to the next attempt after that many: doubling, with a fifth
// of jitter so that many legs that fail together do not retry together. An
// endpoint that has refused is asked again less often than one that could not be
// asked. Called with the lock held.
func (m *Manager) pause(attempts int, err error) time.Duration {
	longest := m.RetryMax
	if !refused(err) {
		longest = min(longest, max(AwayMax, time.Duration(m.away)*AwayPace))
	}
	pause := longest
	if shift := attempts - 1; shift < 20 && m.RetryMin<<shift < longest {
		pause = m.RetryMin << shift
	}
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}

// hasten brings the next attempts of legs that are out of reach forward: of one
// endpoint, or of all. Called with the lock held.
func (m *Manager) hasten(endpoint string) {
	now := time.Now()
	var waiting []*leg
	for _, e := range m.entries {
		for _, l := range e.legs {
			if isAway(l.err) && l.due.After(now) && (endpoint == "" || l.endpoint == endpoint) {
				waiting = append(waiting, l)
			}
		}
	}
	spread := min(time.Duration(len(waiting))*hastenEach, hastenMax)
	for _, l := range waiting {
		if due := now.Add(time.Duration(rand.Float64() * float64(spread))); due.Before(l.due) {
			l.due = due
			l.rouse()
		}
	}
}

// followMesh waits for the mesh to come back.
func (m *Manager) followMesh() {
	m.Mesh.Recovered(m.ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.hasten("")
	})
}

// slot bounds the requests to one endpoint that are under way: those that one
// endpoint leaves unanswered must not keep others waiting.
func (m *Manager) slot(endpoint string) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.slots[endpoint]
	if s == nil {
		s = make(chan struct{}, m.Parallel)
		m.slots[endpoint] = s
	}
	return s
}

// keep stores what has happened already. While that fails the attachment says
// so, and it is tried again.
func (m *Manager) keep(e *entry) {
	err := m.saveAndTell(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.Log.Error("storing attachment", "attachment", e.spec.Name, "err", err)
	}
	if err == nil || e.storing {
		return
	}
	e.storing = true
	m.spawn(func() {
		for err := err; err != nil && m.lasts(e, storeRetry); {
			err = m.saveAndTell(e)
			m.mu.Lock()
			e.storing = err != nil
			m.mu.Unlock()
		}
	})
}

// storeRetry is the time between attempts to store.
const storeRetry = time.Second

// lasts reports false when the attachment or the manager ends before the time.
func (m *Manager) lasts(e *entry, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(m.ctx, d)
	defer cancel()
	select {
	case <-e.finished:
		return false
	case <-ctx.Done():
		return m.ctx.Err() == nil
	}
}

// stored notes whether the attachment is stored as it is. Called with the lock
// held.
func (m *Manager) stored(e *entry, err error) {
	if (err == nil) != (e.unstored == nil) {
		e.unstored = err
		m.publish(e)
	}
}
