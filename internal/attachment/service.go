// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
)

// service is a network service that attachments use: the watched set of its
// endpoints. Guarded by Manager.mu.
type service struct {
	uses      int
	cancel    context.CancelFunc
	known     bool // endpoints has been told at least once
	endpoints []string
}

// useService starts to watch the endpoints of the attachment's service unless
// that is done already. Called with the lock held.
func (m *Manager) useService(e *entry) {
	name := e.spec.NetworkService
	e.using = true
	s, ok := m.services[name]
	if ok {
		s.uses++
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	s = &service{uses: 1, cancel: cancel}
	m.services[name] = s
	known := m.connectedEndpoints(name)
	m.spawn(func() {
		m.Mesh.Endpoints(ctx, name, known, func(endpoints []string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if ctx.Err() != nil {
				return
			}
			s.known, s.endpoints = true, slices.Clone(endpoints)
			for _, e := range m.entries {
				if e.spec.NetworkService == name {
					m.reconcile(e)
				}
			}
		})
	})
}

// connectedEndpoints are those with legs from an earlier run.
func (m *Manager) connectedEndpoints(service string) []string {
	var endpoints []string
	for _, e := range m.entries {
		if e.spec.NetworkService != service {
			continue
		}
		for endpoint := range e.legs {
			if !slices.Contains(endpoints, endpoint) {
				endpoints = append(endpoints, endpoint)
			}
		}
	}
	slices.Sort(endpoints)
	return endpoints
}

func (m *Manager) releaseService(e *entry) {
	if !e.using {
		return
	}
	e.using = false
	s := m.services[e.spec.NetworkService]
	if s.uses--; s.uses == 0 {
		s.cancel()
		delete(m.services, e.spec.NetworkService)
	}
}

// reconcile starts the legs that are missing, tells those that are superfluous
// to close, wakes the others, and publishes. Called with the lock held.
func (m *Manager) reconcile(e *entry) {
	s := m.services[e.spec.NetworkService]
	for endpoint, l := range e.legs {
		if e.removed != "" || s != nil && s.known && !slices.Contains(s.endpoints, endpoint) {
			l.close()
		}
		l.rouse()
	}
	if e.removed == "" && s != nil {
		for _, endpoint := range s.endpoints {
			if _, ok := e.legs[endpoint]; !ok {
				m.startLeg(e, endpoint, Connection{ID: newID()}, false)
			}
		}
	}
	if e.removed != "" && len(e.legs) == 0 {
		m.finish(e)
	}
	m.publish(e)
}

// newID returns an unpredictable connection id.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
