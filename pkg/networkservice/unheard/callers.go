// SPDX-License-Identifier: Apache-2.0

package unheard

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// callers knows the Requests under way. Ids are derived, so a caller that asks
// again means the very connection that is to be closed for the Request before: it
// is not closed while another asks for it, and who asks meanwhile waits.
type callers struct {
	mu  sync.Mutex
	ids map[string]*asked
}

type asked struct {
	requests int
	closing  chan struct{} // closed when the Close is done; nil: there is none
}

// idOf is what all Requests of a connection come with.
func idOf(conn *networkservice.Connection) string {
	path := conn.GetPath()
	if int(path.GetIndex()) >= len(path.GetPathSegments()) {
		return ""
	}
	return path.GetPathSegments()[path.GetIndex()].GetId()
}

// enter waits for a Close under way.
func (c *callers) enter(ctx context.Context, id string) error {
	for {
		c.mu.Lock()
		a := c.ids[id]
		if a == nil {
			a = &asked{}
			if c.ids == nil {
				c.ids = map[string]*asked{}
			}
			c.ids[id] = a
		}
		closing := a.closing
		if closing == nil {
			a.requests++
		}
		c.mu.Unlock()
		if closing == nil {
			return nil
		}
		select {
		case <-closing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// alone begins a Close, unless another Request of the connection is under way.
// Called by one that has entered, which leaves afterwards.
func (c *callers) alone(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.ids[id]
	if a.requests > 1 {
		return false
	}
	a.closing = make(chan struct{})
	return true
}

// leave ends a Request, and its Close if there was one.
func (c *callers) leave(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.ids[id]
	if a.closing != nil {
		close(a.closing)
		a.closing = nil
	}
	if a.requests--; a.requests == 0 {
		delete(c.ids, id)
	}
}
