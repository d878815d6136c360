// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/resource"
)

// How long Follow waits before it tries a configuration again.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Follow calls set with the configuration of a conduit's load balancers, at
// once and whenever it is another one, until ctx ends. While there is no such
// conduit the configuration is empty. After every attempt it calls report with
// the snapshot and the error of set; the store's ReportProgrammed makes that
// the condition of the conduit's objects. If set fails it is called again after
// a pause that grows up to 5 s.
//
// Follow returns when ctx ends, with the error of ctx.
func Follow(ctx context.Context, store *resource.Store, trench, conduit string,
	set func(context.Context, balancer.Config) error, report func(*resource.Snapshot, error),
) error {
	changed, cancel := store.Subscribe()
	defer cancel()
	f := follower{store: store, trench: trench, conduit: conduit, set: set, report: report}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-retry.C:
			due = true
		}
		if pause := f.step(ctx, due); pause > 0 {
			retry.Reset(pause)
		}
	}
}

type follower struct {
	store           *resource.Store
	trench, conduit string
	set             func(context.Context, balancer.Config) error
	report          func(*resource.Snapshot, error)

	tried      bool
	generation uint64           // of the snapshot that was tried last
	inForce    *balancer.Config // nil: none yet, or the last attempt failed
	pause      time.Duration
}

// step puts the present configuration in force, if it is not yet, and returns
// how long to wait before trying again; zero means no other wait than there is.
func (f *follower) step(ctx context.Context, due bool) time.Duration {
	snapshot := f.store.Snapshot()
	if f.tried && !due && snapshot.Generation == f.generation {
		return 0 // only conditions changed
	}
	config, err := Balancer(snapshot, f.trench, f.conduit)
	if errors.Is(err, resource.ErrNotFound) {
		config, err = &balancer.Config{}, nil
	}
	if err == nil && (f.inForce == nil || !reflect.DeepEqual(f.inForce, config)) {
		err = f.set(ctx, *config)
	}
	if ctx.Err() != nil {
		return 0
	}
	f.tried, f.generation = true, snapshot.Generation
	f.report(snapshot, err)
	if err != nil {
		f.inForce = nil
		f.pause = min(max(2*f.pause, firstRetry), lastRetry)
		return f.pause
	}
	f.inForce, f.pause = config, 0
	return 0
}
