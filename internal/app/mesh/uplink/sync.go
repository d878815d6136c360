// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-project/weft/internal/log"
)

// apply carries out what the registry says. The lock is held while the memory
// changes, so that a registration here and one there cannot overtake each other;
// the memory only stores and queues events.
func (t *table[T]) apply(ctx context.Context, e event[T]) {
	name := t.name(e.item)
	t.mu.Lock()
	defer t.mu.Unlock()
	o, owned := t.own[name]
	switch {
	case t.ignored(e.item):
		return
	case t.mine(e.item):
		// Of what is registered here the memory knows more. What has expired
		// there while the way was cut goes there again; what a former process
		// had published, expires.
		if owned && e.deleted && !o.retract {
			o.due = time.Now()
			t.kick()
		}
		return
	case owned && !t.shared:
		if !e.deleted {
			t.log.Warn("registered here and on another node under the same name", "name", name)
		}
		return
	}
	if e.deleted {
		if owned {
			o.settle()
			delete(t.own, name)
		}
		delete(t.mirrored, name)
		t.check("forget", name, t.drop(ctx, e.item))
		return
	}
	if owned {
		o.item = proto.Clone(e.item).(T)
	}
	if m, ok := t.mirrored[name]; !ok || !proto.Equal(m.item, e.item) {
		t.check("mirror", name, t.put(ctx, proto.Clone(e.item).(T)))
	}
	t.mirrored[name] = mirror[T]{item: e.item, session: t.session}
}

// sweep forgets what the registry has not confirmed since it is there.
func (t *table[T]) sweep(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for name, m := range t.mirrored {
		if m.session == t.session {
			continue
		}
		delete(t.mirrored, name)
		if _, owned := t.own[name]; !owned {
			t.check("forget", name, t.drop(ctx, m.item))
		}
	}
}

func (t *table[T]) check(what, name string, err error) {
	if err != nil {
		t.log.Warn("cannot "+what, "name", name, log.Err(err))
	}
}

// publishAll publishes, refreshes and retracts what is due until ctx ends.
func (t *table[T]) publishAll(ctx context.Context) {
	for {
		o, wait := t.next()
		if o != nil {
			t.send(ctx, o)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.wake:
			timer.Stop()
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// next returns what is due, or how long nothing will be.
func (t *table[T]) next() (*own[T], time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := time.Hour
	for _, o := range t.own {
		until := time.Until(o.due)
		if until <= 0 {
			return o, 0
		}
		wait = min(wait, until)
	}
	return nil, wait
}

func (t *table[T]) send(ctx context.Context, o *own[T]) {
	t.mu.Lock()
	item, values, retract := proto.Clone(o.item).(T), o.ctx, o.retract
	// Were it due until it is answered, a registry that hangs would keep
	// everything else waiting behind the same item.
	o.due = time.Now().Add(maxRetry)
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(joined{ctx, values}, callTimeout)
	defer cancel()
	var expires time.Time
	var err error
	if retract {
		err = t.retract(ctx, item)
	} else {
		expires, err = t.publish(ctx, item)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	name := t.name(item)
	defer o.settle()
	switch {
	case t.own[name] != o:
		return // changed meanwhile
	case err != nil:
		o.failures++
		o.due = time.Now().Add(min(reconnectDelay<<min(o.failures, 10), maxRetry))
		t.log.Warn("the registry refuses", "name", name, log.Err(err))
	case retract:
		delete(t.own, name)
	default:
		o.failures = 0
		o.due = time.Now().Add(refreshAfter(expires))
	}
}

// refreshAfter returns when to publish again what expires at a time of the
// registry's clock.
func refreshAfter(expires time.Time) time.Duration {
	if expires.IsZero() {
		return maxRetry * 360 // it does not expire
	}
	return min(max(time.Until(expires)/2, minRefresh), maxRefresh)
}

// joined is a context with the end of one and the values of another.
type joined struct {
	context.Context
	values context.Context
}

func (j joined) Value(key any) any {
	if value := j.Context.Value(key); value != nil {
		return value
	}
	return j.values.Value(key)
}
