// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/dataplane/xconnect"
)

// What callers branch on. The text of an error names the side and the value.
var (
	ErrInterfaceTaken   = errors.New("interface name is taken")
	ErrBadInterfaceName = errors.New("bad interface name")
	ErrNoNamespace      = errors.New("no such network namespace")
	ErrMACConflict      = errors.New("interface has another MAC address")
	ErrAddressTaken     = errors.New("address is taken by another interface")
	ErrInvalidLeg       = errors.New("invalid leg")
	ErrTooManyLegs      = xconnect.ErrTooManyLegs
	ErrTunnelTaken      = errors.New("tunnel is taken by another connection")
	ErrNoVNI            = errors.New("no free VNI")
	ErrClosed           = errors.New("stitcher is closed")
	ErrBusy             = errors.New("too many legs are being connected: try again later")
)

// Route is a route to Prefix over the side's interface.
type Route struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // zero: directly on the link
}

// Neighbour is a permanent neighbour entry.
type Neighbour struct {
	IP  netip.Addr
	MAC net.HardwareAddr
}

// Policy is a routing table of its own for the packets from a source. When no
// route of it matches, the packets are dropped (blackhole), they never take
// another network.
type Policy struct {
	From   netip.Prefix
	Routes []Route
}

// Tunnel is the way to a side on another node.
type Tunnel struct {
	xconnect.Tunnel
	// Signals says that the other node tells the carrier of its end, and wants
	// to hear that of ours. Without, the other end always counts as up.
	Signals bool
}

// Side is the inner end of an interface and its configuration.
type Side struct {
	// Tunnel leads to the side when it is on another node; then of the other
	// fields only MAC counts.
	Tunnel *Tunnel
	// Former are addresses besides the tunnel's that the other node may still
	// send from, by the same VNI.
	Former     []netip.Addr
	NetNS      string           // path of the namespace's file; may be gone after the call
	Interface  string           // 1 to 15 bytes
	MAC        net.HardwareAddr // nil: the kernel's choice
	MTU        int              // 0: the kernel's choice
	Addresses  []netip.Prefix
	Routes     []Route
	Neighbours []Neighbour
	Policies   []Policy
	// Until is when the kernel takes those of the addresses away that no policy
	// routes from, so that they can be given to somebody else whatever has become
	// of this process. Zero: they stay as long as there is the leg.
	Until time.Time
}

// Leg joins a client with an endpoint.
type Leg struct {
	ID               string // the connection's id
	Client, Endpoint Side
	EndpointBringsUp bool // the endpoint sets its interface up itself, when it is ready
	Local            bool // preferred to legs that are not
}

// Remotes follow the other nodes that tunnels lead to. Its methods must not call
// the Stitcher.
type Remotes interface {
	// Join starts to follow the far end of a tunnel. Leave ends it, and tells the
	// far end; Forget does not, because another tunnel is in its place.
	Join(t Tunnel)
	Leave(t Tunnel)
	Forget(t Tunnel)
	// SetCarrier tells the far end the carrier of ours.
	SetCarrier(t Tunnel, up bool)
	// Carrier tells whether the far node lives and its end has carrier. It is
	// not known before the first answer.
	Carrier(t Tunnel) (up, known bool)
	// Prune forgets nodes that an earlier process followed and this one does not.
	Prune() error
	Close() error
}

// Options configure a Stitcher.
type Options struct {
	// NetNS is the namespace of the outer ends; empty is the present one.
	NetNS string
	// Gateway is the anycast MAC; nil is xconnect.DefaultGateway.
	Gateway net.HardwareAddr
	// PinDir is passed to the cross-connect. With it, what an earlier Stitcher
	// has left there is adopted.
	PinDir string
	// Grace is how long adopted legs are kept without a Connect; 0 is
	// DefaultGrace.
	Grace time.Duration
	// Remotes makes what follows other nodes; nil: they count as up. It calls
	// changed when Carrier returns something else for a tunnel.
	Remotes func(plane *xconnect.XConnect, changed func(xconnect.Tunnel)) (Remotes, error)
	// Logger gets what happens outside a call; nil is slog.Default.
	Logger *slog.Logger

	// pinCheck is how often to look for vanished pins; 0 is defaultPinCheck.
	pinCheck time.Duration
	// hook is called before every change of the kernel's state; its error
	// is the change's. Tests inject failures with it.
	hook func(step string) error
}

// DefaultGrace is longer than any connection lives without a refresh.
const DefaultGrace = 15 * time.Minute

// Stitcher makes, changes and removes legs. Its methods may be called
// concurrently; those of one client interface wait for each other.
type Stitcher struct {
	opts    Options
	log     *slog.Logger
	xc      *xconnect.XConnect
	handles handlePool
	turns   turns
	deletes deletes
	remotes Remotes
	stop    context.CancelFunc
	work    sync.WaitGroup // refreshes and deletions under way

	mu           sync.Mutex
	closed       bool
	ports        map[portKey]*port
	legs         map[string]*port // by leg id
	byIndex      map[int]*port    // by outer end of client and endpoint
	far          map[xconnect.TunnelKey]*far
	vnis         vniSet
	departures   map[int]*departure // by outer end that is being deleted
	tables       tableSet           // has a lock of its own, as the next has
	endpointLegs legSet
}

// New opens the cross-connect and starts to follow the links of the node.
func New(opts Options) (*Stitcher, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	if opts.pinCheck == 0 {
		opts.pinCheck = defaultPinCheck
	}
	xc, err := xconnect.Open(xconnect.Config{NetNS: opts.NetNS, Gateway: opts.Gateway, PinDir: opts.PinDir})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Stitcher{
		opts: opts, log: opts.Logger, xc: xc, turns: newTurns(), handles: handlePool{netNS: opts.NetNS}, stop: cancel,
		ports: map[portKey]*port{}, legs: map[string]*port{}, byIndex: map[int]*port{},
		departures: map[int]*departure{}, tables: tableSet{},
		far: map[xconnect.TunnelKey]*far{}, vnis: vniSet{},
	}
	if err := s.start(ctx); err != nil {
		cancel()
		return nil, errors.Join(err, s.end(true))
	}
	return s, nil
}

func (s *Stitcher) start(ctx context.Context) (err error) {
	s.remotes = noRemotes{}
	if s.opts.Remotes != nil {
		if s.remotes, err = s.opts.Remotes(s.xc, s.RemoteChanged); err != nil {
			s.remotes = noRemotes{}
			return err
		}
	}
	if err := s.adopt(); err != nil {
		return err
	}
	if err := nl.WatchLinks(ctx, s.opts.NetNS, s.event); err != nil {
		return err
	}
	s.collectLater(ctx)
	s.keepPins(ctx)
	return nil
}

// Close ends the work. With keep, all interfaces remain and go on forwarding;
// without, every leg is disconnected first. Only the first Close does
// anything.
func (s *Stitcher) Close(keep bool) error {
	s.mu.Lock()
	done := s.closed
	s.closed = true // no new legs, and events are ignored
	s.mu.Unlock()
	if done {
		return nil
	}
	var errs []error
	if !keep {
		for _, id := range s.ids() {
			errs = append(errs, s.Disconnect(context.Background(), id))
		}
	}
	s.stop()
	s.work.Wait()
	return errors.Join(append(errs, s.end(keep))...)
}

// end gives back what New has acquired.
func (s *Stitcher) end(keep bool) error {
	return errors.Join(s.remotes.Close(), s.handles.close(), s.xc.Close(keep))
}

func (s *Stitcher) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.legs))
}

// AttachDevice lets frames in from a VXLAN device of the node.
func (s *Stitcher) AttachDevice(ifindex int) error { return s.xc.AttachDevice(ifindex) }

// Counters returns the frames that the cross-connect has seen, by reason.
func (s *Stitcher) Counters() (map[xconnect.Reason]uint64, error) { return s.xc.Counters() }

// own remembers the port of a leg.
func (s *Stitcher) own(id string, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.legs[id] = p
}

func (s *Stitcher) disown(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.legs, id)
}

// ownIndex lets events of an outer end reach its port.
func (s *Stitcher) ownIndex(t *tx, index int, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byIndex[index] = p
	t.revert(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byIndex, index)
		return nil
	})
}

func (s *Stitcher) ownerOf(index int) *port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byIndex[index]
}

// spareHandles is how many idle sockets a handlePool keeps; many deletions at
// once need more.
const spareHandles = 8

// handlePool keeps netlink sockets of the node's own namespace.
type handlePool struct {
	netNS string
	mu    sync.Mutex
	free  []*nl.Handle
}

func (p *handlePool) get() (*nl.Handle, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		h := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return h, nil
	}
	p.mu.Unlock()
	return nl.Open(p.netNS)
}

func (p *handlePool) put(h *nl.Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == spareHandles {
		_ = h.Close()
		return
	}
	p.free = append(p.free, h)
}

func (p *handlePool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, h := range p.free {
		errs = append(errs, h.Close())
	}
	p.free = nil
	return errors.Join(errs...)
}

// sideError names the side in an error's text.
func sideError(side string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", side, err)
}
