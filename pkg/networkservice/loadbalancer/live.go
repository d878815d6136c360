// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"context"
	"slices"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/monitor"
)

// live knows the connections that have to hear of changed streams.
type live struct {
	mu          sync.Mutex
	connections map[string]liveConnection
}

type liveConnection struct {
	answer  *networkservice.Connection
	streams []string
	events  monitor.EventConsumer
}

func newLive() *live { return &live{connections: map[string]liveConnection{}} }

func (l *live) add(ctx context.Context, answer *networkservice.Connection, streams []string) {
	events, ok := monitor.LoadEventConsumer(ctx, false)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connections[answer.GetId()] = liveConnection{answer.Clone(), streams, events}
}

func (l *live) remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.connections, id)
}

// refresh asks the clients of the connections that are in one of the streams to
// request again.
func (l *live) refresh(streams []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, c := range l.connections {
		if !slices.ContainsFunc(c.streams, func(name string) bool { return slices.Contains(streams, name) }) {
			continue
		}
		event := c.answer.Clone()
		event.State = networkservice.State_REFRESH_REQUESTED
		_ = c.events.Send(&networkservice.ConnectionEvent{ // returns nil always: it only queues
			Type:        networkservice.ConnectionEventType_UPDATE,
			Connections: map[string]*networkservice.Connection{id: event},
		})
	}
}
