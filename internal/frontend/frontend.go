// SPDX-License-Identifier: Apache-2.0

package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/bfd/bfdnet"
	"github.com/weft-project/weft/internal/bgp"
	"github.com/weft-project/weft/internal/nl"
)

// Options of Start.
type Options struct {
	Log *slog.Logger // slog.Default() if nil
	// Restarting: a frontend before this one has ended without a word, and gateways
	// may keep its routes (RFC 4724).
	Restarting bool
}

// Frontend works in the namespace of the process: BGP opens sockets on any
// thread.
type Frontend struct {
	log  *slog.Logger
	bgp  *bgp.Speaker
	bfd  *bfdnet.Speaker
	read *nl.Handle // of who holds work

	// work is held by who brings the world in line with config; before mu.
	work    sync.Mutex
	sentBGP bgp.Config
	sentBFD []bfdnet.Session
	refused error // of the last Set of BFD

	// mu is held for as long as some routes take to change, at most: BFD needs it.
	mu       sync.Mutex
	config   Config
	started  bool // config is in force
	iface    iface
	gateways map[string]*gateway
	table    *table
	held     map[netip.Prefix]nl.Route // left by a process before this one
	ways     map[netip.Addr]nl.NextHop // how next hops are reached; without Index: not at all
	dirty    map[netip.Prefix]bool     // routes to be looked at
	resync   bool                      // interface and table are to be read again
	problem  string                    // of rules and blackholes
	speech   error                     // of BGP and BFD as a whole
	changed  chan struct{}             // closed and replaced with every change
	closed   bool

	wake   chan struct{} // capacity 1
	cancel context.CancelFunc
	group  sync.WaitGroup
}

var _ Speaker = (*Frontend)(nil)

// Start starts a frontend that does nothing until Set.
func Start(options Options) (_ *Frontend, err error) {
	f := &Frontend{
		log: options.Log, gateways: map[string]*gateway{}, ways: map[netip.Addr]nl.NextHop{},
		dirty: map[netip.Prefix]bool{}, changed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start frontend: %w", err), f.release())
		}
	}()
	if f.read, err = nl.Open(""); err != nil {
		return nil, err
	}
	if f.table, err = openTable(0); err != nil {
		return nil, err
	}
	if f.bfd, err = bfdnet.New(bfdnet.Options{Log: f.log, OnChange: f.onBFD}); err != nil {
		return nil, err
	}
	f.bgp, err = bgp.New(bgp.Options{Log: f.log, OnChange: f.poke, Restarting: options.Restarting})
	if err != nil {
		return nil, err
	}
	if err = nl.WatchEvents(ctx, "", f.onEvent); err != nil {
		return nil, err
	}
	f.group.Go(func() { f.run(ctx) })
	return f, nil
}

// Set implements Speaker.
func (f *Frontend) Set(_ context.Context, config Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	f.work.Lock()
	defer f.work.Unlock()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return errors.New("the frontend is closed")
	}
	old := f.table.number
	f.adopt(config)
	f.mu.Unlock()
	f.pass()
	if old != 0 && old != config.Table {
		return clearTable(f.read, old)
	}
	return nil
}

// adopt makes a config the one in force. The caller holds both locks.
func (f *Frontend) adopt(config Config) {
	now := time.Now()
	gateways := make(map[string]*gateway, len(config.Gateways))
	for _, want := range config.Gateways {
		g := f.gateways[want.Name]
		if g == nil || g.Address != want.Address {
			g = newGateway(want)
			if !f.started {
				g.unsettled = now.Add(leastGrace)
				if want.BGP != nil && want.BFD == nil {
					g.unsettled = now.Add(max(config.GracefulRestart, leastGrace))
				}
			}
		} else {
			g.configure(want)
		}
		gateways[want.Name] = g
	}
	for _, g := range f.gateways {
		f.touch(g)
	}
	f.gateways = gateways
	if f.table.number != config.Table {
		f.table.number = config.Table
		f.held = nil
		f.table.installed, f.table.failures = map[netip.Prefix]nl.Route{}, map[netip.Prefix]error{}
	}
	f.config, f.started, f.resync = config, true, true
}

// leastGrace is how long routes of a process before this one stay at least.
const leastGrace = 10 * time.Second

// touch has the routes by a gateway looked at.
func (f *Frontend) touch(g *gateway) {
	for prefix := range g.learned {
		f.dirty[prefix] = true
	}
}

// onBFD is called by the thread of BFD.
func (f *Frontend) onBFD(status bfdnet.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.gateways[status.Name]
	if g == nil || g.BFD == nil || status.Remote.WithZone("") != g.Address {
		return
	}
	g.hear(status, time.Now())
	if f.judge(g) {
		wanted := map[netip.Prefix][]nl.NextHop{}
		for prefix := range g.learned {
			wanted[prefix] = f.hops(prefix, time.Now())
		}
		f.table.set(wanted)
	}
	f.tell()
	f.poke()
}

// judge brings a gateway's Up in line with what is known and says whether it has
// changed. The caller holds mu.
func (f *Frontend) judge(g *gateway) bool {
	ok, reason := g.evaluate(f.iface, f.way(g.Address).Index != 0)
	changed := ok != g.up
	if changed {
		f.log.Info("gateway", "peer", g.Name, "up", ok, "reason", reason)
	}
	g.up, g.reason = ok, reason
	return changed
}

func (f *Frontend) onEvent(e nl.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Kind == nl.RouteChanged {
		if e.Route.Table != f.table.number || !e.Gone {
			return
		}
		// A route that we have taken away ourselves is not in installed any more.
		if _, ours := f.table.installed[e.Route.Prefix]; !ours && !e.Route.Blackhole {
			return
		}
	}
	f.resync = true
	f.poke()
}

func (f *Frontend) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tell wakes who watches. The caller holds mu.
func (f *Frontend) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// retry is how often what did not succeed, or is to end by itself, is looked at.
const retry = time.Second

func (f *Frontend) run(ctx context.Context) {
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case <-tick.C:
			if !f.waits() {
				continue
			}
		}
		f.work.Lock()
		f.pass()
		f.work.Unlock()
	}
}

// waits says whether something is to be tried or ended in time.
func (f *Frontend) waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	waits := len(f.table.failures) > 0 || f.problem != ""
	f.resync = f.resync || waits
	waits = waits || f.speech != nil
	for _, g := range f.gateways {
		if !g.unsettled.IsZero() {
			waits = true
		}
	}
	return waits
}

// Watch implements Speaker.
func (f *Frontend) Watch(ctx context.Context, fn func(Status)) error {
	for {
		f.mu.Lock()
		changed, closed := f.changed, f.closed
		f.mu.Unlock()
		if closed {
			return errors.New("the frontend is closed")
		}
		fn(f.Status())
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close implements Speaker: gateways are told, then routes and rules go.
func (f *Frontend) Close(context.Context) error { return f.end(false) }

// CloseRestarting ends the frontend for one that follows at once: gateways are
// not told, and routes and rules stay.
func (f *Frontend) CloseRestarting() error { return f.end(true) }

func (f *Frontend) end(restarting bool) error {
	f.work.Lock()
	defer f.work.Unlock()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	f.tell()
	f.mu.Unlock()
	f.cancel()
	var errs []error
	if restarting {
		// BFD first: gateways shall not take its silence for a failure.
		errs = append(errs, f.bfd.Close(), f.bgp.CloseRestarting())
	} else {
		errs = append(errs, f.bgp.Close(), f.bfd.Close())
		if f.table.number != 0 {
			errs = append(errs, clearTable(f.read, f.table.number))
		}
	}
	f.work.Unlock()
	f.group.Wait()
	f.work.Lock()
	return errors.Join(append(errs, f.release())...)
}

func (f *Frontend) release() error {
	f.cancel()
	var errs []error
	if f.bgp != nil {
		errs = append(errs, f.bgp.Close())
	}
	if f.bfd != nil {
		errs = append(errs, f.bfd.Close())
	}
	if f.table != nil {
		errs = append(errs, f.table.h.Close())
	}
	if f.read != nil {
		errs = append(errs, f.read.Close())
	}
	return errors.Join(errs...)
}
