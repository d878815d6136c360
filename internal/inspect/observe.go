// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Event is one decision with names.
type Event struct {
	lb.Event
	Replica              string
	Flow, Stream, Target string // "" where the program did not come to one
	Lost                 uint64 // events before this one that the reader was too slow for
}

const (
	// queued is how many events wait for a slow reader.
	queued = 1024
	// namesFor is how long the names of numbers are kept.
	namesFor = time.Second
)

// Observe calls fn with decisions of the replicas, one at a time, until ctx ends
// or fn or a replica fails. The filter's rate is each replica's.
func Observe(ctx context.Context, replicas []Replica, filter lb.Filter, fn func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var (
		working sync.WaitGroup
		lost    atomic.Uint64
		events  = make(chan Event, queued)
		failed  = make(chan error, len(replicas))
	)
	defer working.Wait()
	defer cancel()
	for _, r := range replicas {
		o := observation{replica: r}
		working.Go(func() {
			err := r.Plane.Observe(ctx, filter, func(e lb.Event) {
				// The reader of the program's ring must not wait.
				select {
				case events <- o.event(e):
				default:
					lost.Add(1)
				}
			})
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("observe replica %s: %w", r.Name, err)
			} else if ctx.Err() == nil {
				err = fmt.Errorf("observe replica %s: it has stopped", r.Name)
			}
			failed <- err
		})
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return errors.Join(ctx.Err(), err)
		case e := <-events:
			e.Lost = lost.Load()
			if err := fn(e); err != nil {
				return err
			}
		}
	}
}

// observation names the events of one replica.
type observation struct {
	replica Replica
	names   names
	read    time.Time
}

func (o *observation) event(e lb.Event) Event {
	out := Event{Event: e, Replica: o.replica.Name}
	reason := e.Reason.String()
	if e.Reply {
		return out
	}
	if now := time.Now(); now.Sub(o.read) > namesFor {
		o.names, o.read = newNames(o.replica.State.Snapshot()), now
	}
	if slices.Contains(matched, reason) {
		out.Flow, out.Stream = o.names.flow(e), o.names.streams[e.Stream].Name
	}
	if slices.Contains(balanced, reason) || reason == "fragment_forwarded" {
		out.Target = o.names.targets[e.Target].Name
	}
	return out
}

// flow returns the name of an event's flow; a ping without target and a later
// fragment have none, and their stream tells.
func (n names) flow(e lb.Event) string {
	flow, stream := n.flows[e.Flow], n.streams[e.Stream]
	if flow.Stream != stream.Name {
		return ""
	}
	return flow.Name
}

var _ State = (*balancer.Balancer)(nil)
