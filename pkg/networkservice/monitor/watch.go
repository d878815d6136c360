// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// watch is one monitor.
type watch struct {
	selector *networkservice.MonitorScopeSelector
	wake     chan struct{} // has room for one

	mu    sync.Mutex
	queue []*networkservice.ConnectionEvent
}

func (w *watch) put(event *networkservice.ConnectionEvent) {
	w.mu.Lock()
	w.queue = append(w.queue, event)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (w *watch) take() []*networkservice.ConnectionEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.queue
	w.queue = nil
	return events
}

// serve sends what a monitor asked for until it or the hub ends.
func (h *Hub) serve(selector *networkservice.MonitorScopeSelector, srv networkservice.MonitorConnection_MonitorConnectionsServer) error {
	w := &watch{selector: selector, wake: make(chan struct{}, 1)}
	select {
	case <-h.begun:
	case <-srv.Context().Done():
		return nil
	case <-h.ctx.Done():
		return nil
	}
	h.mu.Lock()
	w.put(&networkservice.ConnectionEvent{
		Type: networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER, Connections: h.matching(selector),
	})
	add(h.waiting, keyOf(selector), w)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		remove(h.waiting, keyOf(selector), w)
	}()
	for {
		select {
		case <-w.wake:
		case <-srv.Context().Done():
			return nil
		case <-h.ctx.Done():
			return nil
		}
		for _, event := range w.take() {
			if err := srv.Send(event); err != nil {
				return err
			}
		}
	}
}

// feed is the hub as a monitor of the chain's own server.
type feed struct {
	networkservice.MonitorConnection_MonitorConnectionsServer
	hub *Hub
}

func (f *feed) Context() context.Context { return f.hub.ctx }

func (f *feed) Send(event *networkservice.ConnectionEvent) error {
	f.hub.handle(event)
	return nil
}
