// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-project/weft/internal/log"
)

const (
	// callTimeout bounds one call to the registry.
	callTimeout = 5 * time.Second
	// settleTimeout bounds how long a registration here waits for that there.
	settleTimeout = 2 * time.Second
	// reconnectDelay is the pause between attempts to follow the registry.
	reconnectDelay = 200 * time.Millisecond
	// maxRetry bounds the pause between attempts to publish.
	maxRetry = 10 * time.Second
	// minRefresh and maxRefresh keep the interval of refreshes sane when the
	// registry's clock is not ours.
	minRefresh, maxRefresh = time.Second, 20 * time.Second
)

// event is a change at the registry.
type event[T proto.Message] struct {
	item    T
	deleted bool
}

// source is how a table reaches the registry and the memory of the nsmgr.
type source[T proto.Message] struct {
	name    func(T) string
	watch   func(context.Context) (func() (event[T], error), error)
	publish func(context.Context, T) (expires time.Time, err error)
	retract func(context.Context, T) error
	put     func(context.Context, T) error
	drop    func(context.Context, T) error
	// mine says that an event is about what this nsmgr published; ignored that
	// it is of no use on this node.
	mine, ignored func(T) bool
	// shared items belong to nobody: the newest version counts.
	shared bool
}

// table keeps the registrations of one kind the same here and at the registry.
type table[T proto.Message] struct {
	source[T]
	log   *slog.Logger
	grace time.Duration // how long what a registry does not confirm is kept

	mu       sync.Mutex
	up       bool
	session  int                  // counts connections to the registry
	own      map[string]*own[T]   // registered here
	mirrored map[string]mirror[T] // registered elsewhere
	wake     chan struct{}
}

type own[T proto.Message] struct {
	item     T
	ctx      context.Context // carries the path of the registration
	retract  bool
	due      time.Time
	failures int
	settled  chan struct{} // closed after the next attempt
}

type mirror[T proto.Message] struct {
	item    T
	session int // that confirmed it last
}

func newTable[T proto.Message](s source[T], logger *slog.Logger, grace time.Duration) *table[T] {
	return &table[T]{
		source: s, log: logger, grace: grace,
		own: map[string]*own[T]{}, mirrored: map[string]mirror[T]{}, wake: make(chan struct{}, 1),
	}
}

// set makes the item published, or retracted, and waits a moment for it when the
// registry is there. ctx gives the path of the registration.
func (t *table[T]) set(ctx context.Context, item T, retract bool) {
	t.mu.Lock()
	name := t.name(item)
	if before, known := t.own[name]; known {
		before.settle()
	}
	settled := make(chan struct{})
	t.own[name] = &own[T]{
		item: proto.Clone(item).(T), ctx: context.WithoutCancel(ctx), retract: retract, due: time.Now(), settled: settled,
	}
	delete(t.mirrored, name)
	up := t.up
	t.mu.Unlock()
	t.kick()
	if !up {
		return
	}
	timer := time.NewTimer(settleTimeout)
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (t *table[T]) kick() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// follow keeps the table until ctx ends.
func (t *table[T]) follow(ctx context.Context) {
	told := false
	for ctx.Err() == nil {
		err := t.connect(ctx, &told)
		if ctx.Err() != nil {
			return
		}
		if !told {
			told = true
			t.log.Warn("the registry is not there", log.Err(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(reconnectDelay):
		}
	}
}

// connect works until the registry is lost.
func (t *table[T]) connect(ctx context.Context, told *bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	receive, err := t.watch(ctx)
	if err != nil {
		return err
	}
	t.open()
	defer t.lost()
	if *told {
		*told = false
		t.log.Info("the registry is there again")
	}
	work.Go(func() { t.publishAll(ctx) })
	sweep := time.AfterFunc(t.grace, func() { t.sweep(ctx) })
	defer sweep.Stop()
	for {
		e, err := receive()
		if err != nil {
			return err
		}
		t.apply(ctx, e)
	}
}

// foreign reports whether another node has registered the name.
func (t *table[T]) foreign(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.mirrored[name]
	return ok
}

// open begins a session: the registry may have forgotten everything.
func (t *table[T]) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = true
	t.session++
	for _, o := range t.own {
		o.due, o.failures = time.Now(), 0
	}
}

func (t *table[T]) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = false
	for _, o := range t.own {
		o.settle() // nobody waits for a registry that is gone
	}
}

func (o *own[T]) settle() {
	if o.settled != nil {
		close(o.settled)
		o.settled = nil
	}
}
