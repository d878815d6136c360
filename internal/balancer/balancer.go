// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Limits of the numbers that the data plane was made for.
type Limits struct {
	Streams      int    // numbers 0 to Streams-1
	Targets      int    // numbers 1 to Targets-1
	Flows        int    // numbers 0 to Flows-1; 0 = lb.DefaultMaxFlows
	TableSize    uint32 // of a stream that does not say; 0 = maglev.DefaultSize
	MaxTableSize uint32 // of any stream; 0 = TableSize
}

// bringUps bounds how many links are being brought up at once: each waits for
// its turn in the kernel, not for the CPU.
const bringUps = 32

// Balancer is one replica's engine; see the package comment. Its methods may be
// called by several goroutines at once.
type Balancer struct {
	dp     DataPlane
	links  Links
	limits Limits
	log    *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	slots  chan struct{} // one token per link being brought up
	wake   chan struct{} // wakes the settler; holds at most one call

	configMu sync.Mutex // held over a whole SetConfig; guards flows
	config   atomic.Pointer[Config]
	flows    flowNumbers

	gatewayMu sync.Mutex // held over a whole change of gateways; guards live
	live      bool       // they come from SetGateways

	samples samples // packets to probe with

	mu       sync.Mutex // guards everything below
	closed   bool
	streams  map[string]*stream
	leaving  []*stream // no longer configured, table not yet cleared
	targets  map[string]*target
	legs     map[string]*leg // by interface name
	present  map[string]nl.Link
	programs map[int]attachment // reply programs, by the link's index
	bringing map[int]bool       // links that are being brought up, by index
	retired  []attachment       // to be closed

	flowStates []FlowState // replaced, never written to

	succession *succession // nil without predecessor

	streamID numbers
	targetID numbers
	order    uint64        // of dirty streams
	changed  chan struct{} // closed and replaced at every change
	watchers map[*watcher]struct{}
}

// New starts a balancer without configuration over the data plane, which it
// does not close. Where that has found a predecessor, the predecessor works until
// Succeed.
func New(dp DataPlane, links Links, limits Limits, log *slog.Logger) (*Balancer, error) {
	if limits.TableSize == 0 {
		limits.TableSize = maglev.DefaultSize
	}
	if limits.Flows == 0 {
		limits.Flows = lb.DefaultMaxFlows
	}
	if limits.MaxTableSize == 0 {
		limits.MaxTableSize = limits.TableSize
	}
	if limits.Streams < 1 || limits.Flows < 1 || limits.Targets < 2 || limits.Targets > maglev.MaxBackends+1 {
		return nil, fmt.Errorf("limits of %d streams, %d flows and %d targets are out of range", limits.Streams, limits.Flows, limits.Targets)
	}
	if !maglev.IsPrime(limits.TableSize) {
		return nil, fmt.Errorf("%w: %d", maglev.ErrSize, limits.TableSize)
	}
	if limits.TableSize > limits.MaxTableSize {
		return nil, fmt.Errorf("%w: %d slots, at most %d", ErrTableSize, limits.TableSize, limits.MaxTableSize)
	}
	b := &Balancer{
		dp: dp, links: links, limits: limits, log: log,
		slots:    make(chan struct{}, bringUps),
		wake:     make(chan struct{}, 1),
		streams:  map[string]*stream{},
		targets:  map[string]*target{},
		legs:     map[string]*leg{},
		present:  map[string]nl.Link{},
		programs: map[int]attachment{},
		bringing: map[int]bool{},
		streamID: numbers{first: 0, end: limits.Streams},
		targetID: numbers{first: 1, end: limits.Targets},
		flows:    flowNumbers{numbers: numbers{first: 0, end: limits.Flows}},
		changed:  make(chan struct{}),
		watchers: map[*watcher]struct{}{},
	}
	if err := b.startSuccession(); err != nil {
		return nil, fmt.Errorf("find the predecessor: %w", err)
	}
	b.config.Store(&Config{})
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := links.Watch(b.ctx, b.linkEvent); err != nil {
		b.cancel()
		return nil, fmt.Errorf("watch links: %w", err)
	}
	b.work.Go(b.settle)
	if b.succession != nil {
		b.work.Go(func() { b.succeed(b.ctx) })
	}
	return b, nil
}

// Abandon stops following and leaves links, programs and tables as they are, for
// a successor.
func (b *Balancer) Abandon() {
	b.mu.Lock()
	first := b.finish()
	b.mu.Unlock()
	if first {
		b.cancel()
		b.work.Wait()
	}
}

// Close stops following, sets the legs that are left down, so that workloads
// answer by another replica, and detaches the reply programs. The data plane's
// tables stay as they are.
func (b *Balancer) Close() {
	b.mu.Lock()
	if !b.finish() {
		b.mu.Unlock()
		return
	}
	var left []*leg
	for _, l := range b.legs {
		if l.up {
			left = append(left, l)
		}
		l.up = false
	}
	clear(b.legs)
	b.notify()
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
	b.abandon(left)
	b.mu.Lock()
	for index := range b.programs {
		b.detach(index)
	}
	b.mu.Unlock()
	b.closeRetired()
	b.work.Wait()
}

// finish lets nobody start work any more but work itself; false says that it is
// so already. The caller holds the lock.
func (b *Balancer) finish() bool {
	if b.closed {
		return false
	}
	b.closed = true
	for _, t := range b.targets {
		b.hold(t, nil, nil)
	}
	b.notify()
	return true
}

// Config returns the configuration in force.
func (b *Balancer) Config() *Config { return b.config.Load() }

// Changed returns a channel that is closed when the state that Snapshot shows
// changes next.
func (b *Balancer) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Wait returns when the state satisfies cond, or with the error of ctx.
func (b *Balancer) Wait(ctx context.Context, cond func(Snapshot) bool) error {
	for {
		changed := b.Changed()
		if cond(b.Snapshot()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// notify tells everybody who waits that something has changed. The caller holds
// the lock.
func (b *Balancer) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// numbers hands out numbers of [first, end), each again as late as possible, so
// that a packet in flight does not meet a new owner under an old number.
type numbers struct {
	first, end, last int
	taken            map[int]bool
}

func (n *numbers) take() (int, bool) {
	if n.taken == nil {
		n.taken, n.last = map[int]bool{}, n.first-1
	}
	if len(n.taken) == n.end-n.first {
		return 0, false
	}
	for {
		if n.last++; n.last >= n.end {
			n.last = n.first
		}
		if !n.taken[n.last] {
			n.taken[n.last] = true
			return n.last, true
		}
	}
}

func (n *numbers) free(number int) { delete(n.taken, number) }
