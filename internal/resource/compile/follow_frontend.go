// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/weft-project/weft/internal/resource"
)

// lookEvery is how often keys are looked at for changes.
const lookEvery = time.Second

// FollowFrontend calls set with what the frontend of a replica is to do, at once
// and whenever that is something else, a changed key included, until ctx ends. A
// conduit without attractor has none: nil. If set fails it is called again.
func FollowFrontend(ctx context.Context, store *resource.Store, trench, conduit, replica string, secret SecretReader,
	set func(context.Context, *Frontend) error,
) error {
	changed, cancel := store.Subscribe()
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var inForce *Frontend
	done := false // inForce is
	generation := uint64(0)
	for {
		snapshot := store.Snapshot()
		again := !done || snapshot.Generation != generation || inForce != nil && inForce.Secrets
		if again {
			next, err := FrontendOf(snapshot, trench, conduit, replica, secret)
			if errors.Is(err, resource.ErrNotFound) {
				next, err = nil, nil
			}
			if err == nil && (!done || !reflect.DeepEqual(next, inForce)) {
				err = set(ctx, next)
			}
			inForce, done, generation = next, err == nil, snapshot.Generation
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
		}
	}
}
