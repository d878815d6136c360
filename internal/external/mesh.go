// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/weft-project/weft/internal/nl"
)

// meshed is an interface that the node's forwarder makes.
type meshed struct {
	spec Spec
	mesh Mesh
	wake func()

	again   time.Time // of the last answer
	watched context.Context
}

// connectTimeout bounds one request.
const connectTimeout = 15 * time.Second

func (m *meshed) ensure(ctx context.Context) (int, time.Time, error) {
	link, had, err := m.find()
	lost := m.watched == nil || m.watched.Err() != nil
	if err != nil || lost || !time.Now().Before(m.again) {
		request, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		again, connectErr := m.mesh.Connect(request, m.spec, had)
		if connectErr != nil {
			m.again = time.Time{}
			if err == nil { // it works on meanwhile
				return link.Index, time.Now().Add(retry), nil
			}
			return 0, time.Time{}, connectErr
		}
		m.again = again
		if link, _, err = m.find(); err != nil {
			return 0, time.Time{}, errors.New("was requested, and is not there")
		}
		if lost {
			m.watch(ctx)
		}
	}
	return link.Index, m.again, nil
}

// watch wakes when the connection needs another request.
func (m *meshed) watch(ctx context.Context) {
	watched, lost := context.WithCancel(ctx)
	m.watched = watched
	go func() {
		defer lost()
		_ = m.mesh.Watch(ctx, m.spec)
		lost()
		m.wake()
	}()
}

func (m *meshed) find() (link nl.Link, had []netip.Prefix, err error) {
	err = nl.Do(m.spec.NetNS, func(h *nl.Handle) (err error) {
		if link, err = h.LinkByName(m.spec.Name); err == nil {
			had, err = globals(h, link.Index)
		}
		return err
	})
	return link, had, err
}

func (m *meshed) undo(ctx context.Context) error { return m.mesh.Close(ctx, m.spec) }
