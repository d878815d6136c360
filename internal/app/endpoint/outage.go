// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"time"

	"github.com/weft-project/weft/internal/frontend"
)

const (
	// outagePause is between attempts to tell the registry.
	outagePause = time.Second
	// quiet is how long no target has to come before the tables count as those of
	// the other replicas, to which flows go meanwhile.
	quiet      = 500 * time.Millisecond
	quietCheck = 20 * time.Millisecond
)

// reach notes whether answers have a way. An endpoint that has none is of no use to
// its clients: they would go on answering by it. A frontend that restarts keeps
// its routes.
func (f *front) reach(s frontend.Status) {
	if len(s.Gateways) == 0 { // not told what to do yet, or there is no process
		return
	}
	f.mu.Lock()
	f.isolated = len(s.Routes) == 0 && spoken(f.want)
	f.mu.Unlock()
	f.look()
}

// look makes follow look at isolated.
func (f *front) look() {
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
				f.log.Error("clients are not told whether answers have a way", "have", !want, "err", err)
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
	f.settle(in)
	if in {
		f.log.Info("answers have a way: clients may come")
		return f.enroll(ctx)
	}
	f.log.Warn("no gateway gives answers a way: clients leave")
	return f.unregister(ctx)
}

// settle withholds announcements until the targets have come.
func (f *front) settle(begin bool) {
	f.mu.Lock()
	f.settling = begin
	f.mu.Unlock()
	if !begin {
		return
	}
	f.group.Go(func() {
		tick := time.NewTicker(quietCheck)
		defer tick.Stop()
		targets, since := 0, time.Now()
		for time.Since(since) < quiet || targets == 0 {
			select {
			case <-tick.C:
			case <-f.ctx.Done():
				return
			}
			if n := len(f.balancer.Snapshot().Targets); n != targets {
				targets, since = n, time.Now()
			}
		}
		f.mu.Lock()
		f.settling = false
		f.mu.Unlock()
		f.announcer.Kick()
	})
}
