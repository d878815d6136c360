// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Change is what Update may change; nil fields stay.
type Change struct {
	Streams     []string // replaces, unless nil
	Join, Leave []string
	Labels      map[string]string // replaces, unless nil
	SetLabels   map[string]string // adds or replaces these
	UnsetLabels []string          // removes these
}

func (c Change) apply(spec Spec) Spec {
	spec = spec.clone()
	if c.Streams != nil {
		spec.Streams = slices.Clone(c.Streams)
	}
	for _, stream := range c.Join {
		if !slices.Contains(spec.Streams, stream) {
			spec.Streams = append(spec.Streams, stream)
		}
	}
	spec.Streams = slices.DeleteFunc(spec.Streams, func(stream string) bool { return slices.Contains(c.Leave, stream) })
	if c.Labels != nil {
		spec.Labels = maps.Clone(c.Labels)
	}
	if len(c.SetLabels) > 0 && spec.Labels == nil {
		spec.Labels = map[string]string{}
	}
	maps.Copy(spec.Labels, c.SetLabels)
	for _, key := range c.UnsetLabels {
		delete(spec.Labels, key)
	}
	return spec
}

// Update changes an attachment in place. With a wait it returns when the
// change stands, or takes it back.
func (m *Manager) Update(ctx context.Context, name string, scope Scope, change Change, wait time.Duration) (Attachment, error) {
	e, before, err := m.change(name, scope, change, wait > 0)
	if err != nil {
		return Attachment{}, err
	}
	m.mu.Lock()
	generation := e.generation
	now := m.attachment(e)
	m.mu.Unlock()
	if wait <= 0 {
		return now, nil
	}
	ready, err := m.await(ctx, e, generation, wait)
	if err == nil {
		return ready, nil
	}
	_, _, undoErr := m.revise(e, false, func(now Spec) (Spec, error) {
		if e.generation != generation {
			return now, nil // somebody else has changed it since
		}
		return before, nil
	})
	if undoErr == nil && refused(err) {
		m.mu.Lock()
		generation = e.generation
		m.mu.Unlock()
		// The answer is for when all is as it was. Whether it has become so is
		// in the conditions.
		_, _ = m.await(ctx, e, generation, m.RequestTimeout)
	}
	return Attachment{}, errors.Join(err, undoErr)
}

func (m *Manager) change(name string, scope Scope, change Change, whole bool) (*entry, Spec, error) {
	e, err := m.find(name, scope)
	if err != nil {
		return nil, Spec{}, err
	}
	return m.revise(e, whole, func(now Spec) (Spec, error) {
		next := change.apply(now)
		return next, errors.Join(next.normalise(), next.Validate())
	})
}

// revise replaces the specification with what edit, called with the lock held,
// makes of it; as a whole or not at all, if somebody waits for it. It returns
// the specification before.
func (m *Manager) revise(e *entry, whole bool, edit func(Spec) (Spec, error)) (*entry, Spec, error) {
	m.mu.Lock()
	before, generation := e.spec, e.generation
	if e.removed != "" {
		m.mu.Unlock()
		return nil, before, errorf(Precondition, "name", "attachment %q is being removed: %s", before.Name, e.removed)
	}
	next, err := edit(before.clone())
	if err != nil || sameSpec(before, next) {
		m.mu.Unlock()
		return e, before, err
	}
	e.spec = next
	e.generation++
	m.mu.Unlock()
	if err := m.save(e); err != nil {
		m.mu.Lock()
		if e.generation == generation+1 {
			e.spec, e.generation = before, generation
		}
		m.mu.Unlock()
		return nil, before, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if whole && e.generation == generation+1 {
		e.whole = e.generation
	}
	m.reconcile(e)
	return e, before, nil
}

func sameSpec(a, b Spec) bool {
	return slices.Equal(a.Streams, b.Streams) && maps.Equal(a.Labels, b.Labels)
}
