// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"slices"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"google.golang.org/grpc"
)

// Hub knows a chain's connections and their monitors.
type Hub struct {
	ctx   context.Context
	begun chan struct{} // closed when the connections that the chain had are known

	mu          sync.Mutex
	connections map[string]*networkservice.Connection
	// bySegment has the connections by the ids in their paths, waiting the
	// monitors by an id in their selector, "" for those without one.
	bySegment map[string]map[string]bool
	waiting   map[string]map[*watch]bool
}

// New returns a hub that works until ctx ends.
func New(ctx context.Context) *Hub {
	return &Hub{
		ctx: ctx, begun: make(chan struct{}), connections: map[string]*networkservice.Connection{},
		bySegment: map[string]map[string]bool{}, waiting: map[string]map[*watch]bool{},
	}
}

// Wrap returns the chain with the hub in place of its server of monitors. It is
// called once.
func (h *Hub) Wrap(e endpoint.Endpoint) endpoint.Endpoint {
	go func() { _ = e.MonitorConnections(&networkservice.MonitorScopeSelector{}, &feed{hub: h}) }()
	return &wrapped{Endpoint: e, hub: h}
}

type wrapped struct {
	endpoint.Endpoint
	hub *Hub
}

// Register registers this server where the SDK's would register itself.
func (w *wrapped) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, w)
	networkservice.RegisterNetworkServiceServer(s, w)
	networkservice.RegisterMonitorConnectionServer(s, w)
}

func (w *wrapped) MonitorConnections(selector *networkservice.MonitorScopeSelector, srv networkservice.MonitorConnection_MonitorConnectionsServer) error {
	return w.hub.serve(selector, srv)
}

// handle takes an event of the chain.
func (h *Hub) handle(event *networkservice.ConnectionEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, conn := range event.GetConnections() {
		if event.GetType() == networkservice.ConnectionEventType_DELETE {
			h.forget(conn.GetId())
		} else {
			h.keep(conn)
		}
		if event.GetType() != networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER {
			h.tell(event.GetType(), conn)
		}
	}
	if event.GetType() == networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER {
		close(h.begun)
	}
}

// tell gives a connection to those who wait for it. The caller holds the lock.
func (h *Hub) tell(kind networkservice.ConnectionEventType, conn *networkservice.Connection) {
	for _, id := range append(segmentIDs(conn), "") {
		for w := range h.waiting[id] {
			if conn.MatchesMonitorScopeSelector(w.selector) {
				w.put(&networkservice.ConnectionEvent{
					Type: kind, Connections: map[string]*networkservice.Connection{conn.GetId(): conn},
				})
			}
		}
	}
}

// keep notes a connection, which nobody changes any more. The caller holds the
// lock.
func (h *Hub) keep(conn *networkservice.Connection) {
	id := conn.GetId()
	h.forget(id) // its path may be another one
	h.connections[id] = conn
	for _, segment := range segmentIDs(conn) {
		add(h.bySegment, segment, id)
	}
}

func (h *Hub) forget(id string) {
	conn := h.connections[id]
	delete(h.connections, id)
	for _, segment := range segmentIDs(conn) {
		remove(h.bySegment, segment, id)
	}
}

// matching returns the connections that a selector means. The caller holds the
// lock.
func (h *Hub) matching(selector *networkservice.MonitorScopeSelector) map[string]*networkservice.Connection {
	key := keyOf(selector)
	if key == "" {
		return networkservice.FilterMapOnManagerScopeSelector(h.connections, selector)
	}
	found := map[string]*networkservice.Connection{}
	for id := range h.bySegment[key] {
		if conn := h.connections[id]; conn.MatchesMonitorScopeSelector(selector) {
			found[id] = conn
		}
	}
	return found
}

// keyOf returns an id that is in the path of every connection that a selector
// means, "" when it names none.
func keyOf(selector *networkservice.MonitorScopeSelector) string {
	for _, segment := range selector.GetPathSegments() {
		if segment.GetId() != "" {
			return segment.GetId()
		}
	}
	return ""
}

// segmentIDs returns each id in the path once.
func segmentIDs(conn *networkservice.Connection) []string {
	var ids []string
	for _, segment := range conn.GetPath().GetPathSegments() {
		if id := segment.GetId(); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func add[K comparable](sets map[string]map[K]bool, key string, value K) {
	if sets[key] == nil {
		sets[key] = map[K]bool{}
	}
	sets[key][value] = true
}

func remove[K comparable](sets map[string]map[K]bool, key string, value K) {
	delete(sets[key], value)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}
