// SPDX-License-Identifier: Apache-2.0

package liveness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// The defaults: death shows within 800 ms.
const (
	DefaultInterval   = 200 * time.Millisecond
	DefaultMultiplier = 4
	DefaultPort       = 4789
)

// minInterval keeps the work of probing small.
const minInterval = 10 * time.Millisecond

// Plane is the kernel's half, the cross-connect.
type Plane interface {
	SetPeer(device int, remote netip.Addr) error
	DeletePeer(device int, remote netip.Addr) error
	PeerReply(device int, remote netip.Addr) (at time.Duration, nonce uint64, err error)
	Peers() ([]xconnect.Peer, error)
	WatchControl(fn func(xconnect.Control)) (io.Closer, error)
}

// Options configure a Liveness.
type Options struct {
	Plane Plane
	// Underlay returns the namespace that the packets of a VXLAN device travel
	// in; empty is the present one. Nil: all in the present one.
	Underlay func(device int) string
	// Port is the UDP port of the other nodes' VXLAN devices; 0 is DefaultPort.
	Port uint16
	// Interval is how often a node is probed; 0 is DefaultInterval.
	Interval time.Duration
	// Multiplier is how many unanswered probes are a death; 0 is
	// DefaultMultiplier.
	Multiplier int
	// Changed is called, by one goroutine, after the Carrier of a tunnel has
	// become another one. It may call all methods but Close.
	Changed func(xconnect.Tunnel)
	// Logger gets deaths and returns; nil is slog.Default.
	Logger *slog.Logger

	transport transport     // tests replace the sockets
	first     func() uint64 // and the first nonce
}

// Liveness follows other nodes and the tunnels to them. Its methods may be called
// concurrently.
type Liveness struct {
	opts    Options
	log     *slog.Logger
	net     transport
	watcher io.Closer
	wake    chan struct{} // the loop has something new to do
	news    chan struct{} // some tunnels are in changed
	stop    chan struct{}
	work    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	nonce   uint64
	peers   map[xconnect.Peer]*peer
	tunnels map[xconnect.TunnelKey]*tunnel
	urgent  []*tunnel // have something to send now
	retries retries   // wait for an ack
	pace    pace
	changed []*tunnel // wait for their call of Changed
	stats   stats
}

// New starts to follow. Nothing is followed until Join.
func New(opts Options) (*Liveness, error) {
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Multiplier == 0 {
		opts.Multiplier = DefaultMultiplier
	}
	if opts.Port == 0 {
		opts.Port = DefaultPort
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Changed == nil {
		opts.Changed = func(xconnect.Tunnel) {}
	}
	if opts.first == nil {
		opts.first = firstNonce
	}
	if opts.transport == nil {
		opts.transport = newSockets(opts.Underlay, opts.Port)
	}
	switch {
	case opts.Plane == nil:
		return nil, errors.New("liveness: no Plane")
	case opts.Interval < minInterval:
		return nil, fmt.Errorf("liveness: Interval %v is below %v", opts.Interval, minInterval)
	case opts.Multiplier < 1:
		return nil, fmt.Errorf("liveness: Multiplier %d is below 1", opts.Multiplier)
	}
	l := &Liveness{
		opts: opts, log: opts.Logger, net: opts.transport, nonce: opts.first(),
		wake: make(chan struct{}, 1), news: make(chan struct{}, 1), stop: make(chan struct{}),
		peers: map[xconnect.Peer]*peer{}, tunnels: map[xconnect.TunnelKey]*tunnel{},
	}
	var err error
	if l.watcher, err = opts.Plane.WatchControl(l.control); err != nil {
		return nil, errors.Join(fmt.Errorf("watch control frames: %w", err), l.net.close())
	}
	l.work.Go(l.run)
	l.work.Go(l.tell)
	return l, nil
}

// Close ends the work. The other nodes' probes are still answered, as long as
// their tunnels were not left. Only the first Close does anything.
func (l *Liveness) Close() error {
	l.mu.Lock()
	done := l.closed
	l.closed = true
	l.mu.Unlock()
	if done {
		return nil
	}
	close(l.stop)
	errs := []error{l.watcher.Close()}
	l.work.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, p := range l.peers {
		if len(p.tunnels) == 0 {
			errs = append(errs, l.opts.Plane.DeletePeer(key.Device, key.Remote))
		}
	}
	return errors.Join(append(errs, l.net.close())...)
}

// Join starts to follow a tunnel. Joining again changes nothing, unless Local or
// Signals are others. A tunnel that does not signal always has carrier, and its
// node is not probed on its behalf.
func (l *Liveness) Join(t stitch.Tunnel) {
	t.Local, t.Remote = t.Local.Unmap(), t.Remote.Unmap()
	if t.Signals {
		// Not under the lock: entering a namespace can take long. A failure
		// shows when the first probe is sent, which tries again.
		_ = l.net.open(source{device: t.Device, local: t.Local})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	joined := &tunnel{Tunnel: t, retry: notWaiting}
	if old, ok := l.tunnels[t.Key()]; ok {
		if old.Tunnel == t {
			return
		}
		joined.ours = old.ours
		l.leave(old)
	}
	l.tunnels[t.Key()] = joined
	if t.Signals {
		joined.peer = l.joinPeer(joined)
		l.ask(joined)
	}
	joined.told = joined.carrier()
	l.wakeUp()
}

// Leave ends the following of a tunnel. The other side is told, once, that this
// end is down; so whoever leaves the frames flowing, to be adopted, must not call
// it.
func (l *Liveness) Leave(t stitch.Tunnel) { l.end(t, true) }

// Forget ends the following of a tunnel in whose place another one has come. The
// other side, which may know both by one name, is told nothing.
func (l *Liveness) Forget(t stitch.Tunnel) { l.end(t, false) }

func (l *Liveness) end(t stitch.Tunnel, tell bool) {
	t.Remote = t.Remote.Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.tunnels[t.Key()]
	if !ok || l.closed {
		return
	}
	if tell {
		l.farewell(old)
	}
	l.leave(old)
	l.wakeUp()
}

// leave forgets the tunnel.
func (l *Liveness) leave(t *tunnel) {
	delete(l.tunnels, t.Key())
	t.left = true
	l.retries.remove(t)
	if t.peer != nil {
		l.leavePeer(t)
	}
}

// SetCarrier says whether this end of a joined tunnel has carrier. Before the
// first call the other side is told nothing.
func (l *Liveness) SetCarrier(t stitch.Tunnel, up bool) {
	t.Remote = t.Remote.Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	joined, ok := l.tunnels[t.Key()]
	if !ok || joined.ours == carrierOf(up) {
		return
	}
	joined.ours = carrierOf(up)
	if joined.peer != nil {
		l.announce(joined)
		l.wakeUp()
	}
}

// Carrier says whether the node at the other end of a joined tunnel is alive and
// its end has carrier; known is false until something was heard, or until silence
// says that the node is dead.
func (l *Liveness) Carrier(t stitch.Tunnel) (up, known bool) {
	t.Remote = t.Remote.Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	joined, ok := l.tunnels[t.Key()]
	if !ok {
		return false, false
	}
	c := joined.carrier()
	return c == carrierUp, c != carrierUnknown
}

// Prune makes the kernel forget the nodes that no joined tunnel leads to: those
// of an earlier process. To be called when every tunnel that remains of it has
// been joined.
func (l *Liveness) Prune() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, err := l.opts.Plane.Peers()
	if err != nil {
		return fmt.Errorf("prune nodes: %w", err)
	}
	var errs []error
	for _, key := range known {
		if _, ok := l.peers[xconnect.Peer{Device: key.Device, Remote: key.Remote.Unmap()}]; !ok {
			errs = append(errs, l.opts.Plane.DeletePeer(key.Device, key.Remote))
		}
	}
	return errors.Join(errs...)
}
