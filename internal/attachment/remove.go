// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"context"

	"github.com/weft-project/weft/internal/netns"
)

// Detach removes an attachment and returns when it is gone. An error means
// that it is not gone yet; the Manager goes on removing it.
func (m *Manager) Detach(ctx context.Context, name string, scope Scope) error {
	e, err := m.find(name, scope)
	if err != nil {
		return err
	}
	return m.remove(ctx, e, "detached")
}

func (m *Manager) remove(ctx context.Context, e *entry, reason string) error {
	m.condemn(e, reason)
	select {
	case <-e.finished:
		return nil
	case <-m.ctx.Done():
		return errorf(Unavailable, "", "the agent is stopping; attachment %q is removed when it is back", e.spec.Name)
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		return errorf(Deadline, "", "attachment %q is not removed yet: %s", e.spec.Name, m.lastError(e))
	}
}

// condemn stores that an attachment is to be removed and starts to do so.
func (m *Manager) condemn(e *entry, reason string) {
	m.mu.Lock()
	if e.removed != "" {
		m.mu.Unlock()
		return
	}
	e.removed = reason
	m.mu.Unlock()
	m.Log.Info("removing attachment", "attachment", e.spec.Name, "reason", reason)
	// Removing goes on though it could not be stored: what fails is only that
	// a restart in between would bring the attachment back.
	m.keep(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.releaseService(e)
	m.reconcile(e)
}

// NamespaceGone removes all attachments of a namespace that has died.
func (m *Manager) NamespaceGone(id netns.ID) {
	m.mu.Lock()
	var hit []*entry
	for _, e := range m.entries {
		if e.spec.NetNS == id {
			e.gone = true
			hit = append(hit, e)
		}
	}
	m.mu.Unlock()
	for _, e := range hit {
		m.condemn(e, "its network namespace is gone")
	}
}

// finish removes an attachment that has no legs left. Called with the lock
// held; the deletion itself waits for a save under way, which would bring the
// record back.
func (m *Manager) finish(e *entry) {
	if e.finishing || m.stopped {
		return
	}
	e.finishing = true
	m.spawn(func() {
		e.saving.Lock()
		err := m.Store.Delete(e.spec.Name)
		e.saving.Unlock()
		if err != nil {
			m.Log.Error("removing attachment", "attachment", e.spec.Name, "err", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.entries, e.spec.Name)
		m.Namespaces.Unwatch(e.spec.NetNS)
		close(e.finished)
		m.publish(e)
		m.Log.Info("removed attachment", "attachment", e.spec.Name, "reason", e.removed)
	})
}
