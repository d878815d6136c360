// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"slices"
	"time"

	"github.com/weft-project/weft/internal/frontend"
)

// outagePause is between attempts to tell the registry.
const outagePause = time.Second

// reach notes whether a gateway is up. An endpoint that has none any more is of no
// use to its clients: they would go on answering by it.
func (f *front) reach(s frontend.Status) {
	up := slices.ContainsFunc(s.Gateways, func(g frontend.GatewayStatus) bool { return g.Up })
	f.mu.Lock()
	f.reached = f.reached || up
	f.isolated = f.reached && !up && spoken(f.want)
	f.mu.Unlock()
	select {
	case f.reachable <- struct{}{}:
	default: // it will look anyway
	}
}

// follow keeps the endpoint out of the registry while it is isolated, so that its
// clients leave it and come back, until the context ends.
func (f *front) follow() {
	select {
	case <-f.started:
	case <-f.ctx.Done():
		return
	}
	out := false
	for {
		f.mu.Lock()
		want := f.isolated && !f.draining
		f.mu.Unlock()
		retry := (<-chan time.Time)(nil)
		if want != out {
			if err := f.enlist(!want); err != nil {
				f.log.Error("clients are not told whether a gateway is up", "up", !want, "err", err)
				retry = time.After(outagePause)
			} else {
				out = want
			}
		}
		select {
		case <-f.reachable:
		case <-retry:
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *front) enlist(in bool) error {
	ctx, cancel := context.WithTimeout(f.ctx, registryTimeout)
	defer cancel()
	f.registering.Lock()
	defer f.registering.Unlock()
	f.mu.Lock()
	draining := f.draining
	f.mu.Unlock()
	if draining {
		return nil
	}
	if in {
		f.log.Info("a gateway is up again: clients may come")
		return f.enroll(ctx)
	}
	f.log.Warn("no gateway is up any more: clients leave")
	return f.unregister(ctx)
}
