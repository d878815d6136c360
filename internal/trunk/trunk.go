// SPDX-License-Identifier: Apache-2.0

package trunk

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
	"github.com/weft-project/weft/pkg/dataplane/vlan"
)

// What callers branch on. The text of an error names the field and the value.
var (
	ErrInvalid     = errors.New("invalid VLAN interface")
	ErrNoBase      = errors.New("base interface is not there")
	ErrVLANTaken   = errors.New("VLAN is taken by a VLAN device")
	ErrNoNamespace = errors.New("no such network namespace")
	ErrNameTaken   = errors.New("interface name is taken")
	ErrClosed      = errors.New("trunk is closed")
)

// Port is a frontend's interface and its VLAN.
type Port struct {
	ID        string           // the connection's id
	NetNS     string           // path of the frontend's namespace; may be gone after the call
	Interface string           // in it
	MAC       net.HardwareAddr // nil: as it is, or the kernel's choice
	MTU       int              // 0: the base interface's; it is never more
	Addresses []netip.Prefix
	Base      string // base interface
	VLAN      int    // 0: untagged
}

// Options configure a Trunk.
type Options struct {
	// NetNS is the namespace of base interfaces and outer ends; empty is the
	// present one.
	NetNS string
	// PinDir is passed to the data path. With it, what an earlier Trunk has left
	// there is adopted.
	PinDir string
	// Grace is how long adopted interfaces are kept without a Connect; 0 is
	// DefaultGrace.
	Grace time.Duration
	// Logger gets what happens outside a call; nil is slog.Default.
	Logger *slog.Logger

	// hook is called before every change of the kernel's state; tests inject
	// failures with it.
	hook func(step string) error
}

// DefaultGrace is longer than any connection lives without a refresh.
const DefaultGrace = 15 * time.Minute

// Trunk makes, changes and removes frontends' interfaces. Its methods may be
// called concurrently.
type Trunk struct {
	opts  Options
	log   *slog.Logger
	plane *vlan.VLAN
	host  *nl.Handle // guarded by mu
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	entries map[key]*entry
	bases   map[string]nl.Link // interfaces that are base interfaces, by name
	gone    map[key]gone       // whose connection may make them again
}

// gone is an interface that was removed from within its namespace.
type gone struct {
	id  string
	mac net.HardwareAddr
}

// key is a frontend's interface: namespace cookie and name.
type key struct {
	cookie uint64
	name   string
}

// entry is a frontend's interface as it is.
type entry struct {
	key       key
	id        string // of the connection that has claimed it last
	adopted   bool   // nobody has claimed it yet
	outer     int    // 0: gone
	inner     int    // in the frontend's namespace
	mac       net.HardwareAddr
	base      string
	baseIndex int
	vlan      int
	addresses []netip.Prefix     // that are ours
	filters   []net.HardwareAddr // on the base interface
}

// New opens the data path and starts to follow the links of the node.
func New(opts Options) (*Trunk, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	plane, err := vlan.Open(vlan.Config{NetNS: opts.NetNS, PinDir: opts.PinDir})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &Trunk{opts: opts, log: opts.Logger, plane: plane, stop: cancel, entries: map[key]*entry{}, bases: map[string]nl.Link{}, gone: map[key]gone{}}
	if t.host, err = nl.Open(opts.NetNS); err == nil {
		err = t.adopt()
	}
	if err == nil {
		err = nl.WatchLinks(ctx, opts.NetNS, t.event)
	}
	if err != nil {
		cancel()
		return nil, errors.Join(err, t.release(true))
	}
	t.collectLater(ctx)
	return t, nil
}

// Close ends the work. With keep, all interfaces remain and go on; without, all
// are removed. Only the first Close does anything.
func (t *Trunk) Close(keep bool) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	var errs []error
	if !keep {
		for _, e := range slices.Collect(maps.Values(t.entries)) {
			errs = append(errs, t.remove(e))
		}
	}
	t.closed = true
	t.mu.Unlock()
	t.stop()
	t.work.Wait()
	return errors.Join(append(errs, t.release(keep))...)
}

func (t *Trunk) release(keep bool) error {
	errs := []error{t.plane.Close(keep)}
	if t.host != nil {
		errs = append(errs, t.host.Close())
	}
	return errors.Join(errs...)
}

// Counters returns the frames that the data path has seen, by reason.
func (t *Trunk) Counters() (map[vlan.Reason]uint64, error) { return t.plane.Counters() }

// Len returns how many interfaces there are.
func (t *Trunk) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}

// Has tells whether a connection's interface is here.
func (t *Trunk) Has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID(id) != nil
}

func (t *Trunk) byID(id string) *entry {
	for _, e := range t.entries {
		if e.id == id {
			return e
		}
	}
	return nil
}

// Disconnect removes a connection's interface. One that is not known, or has been
// taken over by another connection, is no error.
func (t *Trunk) Disconnect(id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byID(id)
	maps.DeleteFunc(t.gone, func(_ key, g gone) bool { return g.id == id })
	if t.closed || e == nil || id == "" {
		return nil
	}
	if err := t.remove(e); err != nil {
		return fmt.Errorf("disconnect %s: %w", id, err)
	}
	return nil
}

// remove removes an interface: first the link, then what the data path knows of
// it. The caller holds mu.
func (t *Trunk) remove(e *entry) error {
	if e.outer != 0 {
		if err := t.step("delete link"); err != nil {
			return err
		}
		if err := t.host.DeleteLink(e.outer); err != nil && !errors.Is(err, nl.ErrNotFound) {
			return err
		}
	}
	return t.forget(e)
}

// forget drops what there is besides the link, which has gone.
func (t *Trunk) forget(e *entry) error {
	delete(t.entries, e.key)
	errs := []error{t.plane.Delete(e.outer), t.filter(e, e.baseIndex, nil)}
	t.dropBase(e.base)
	return errors.Join(errs...)
}

func (t *Trunk) dropBase(name string) {
	for _, other := range t.entries {
		if other.base == name {
			return
		}
	}
	delete(t.bases, name)
}

func (t *Trunk) step(what string) error {
	if t.opts.hook == nil {
		return nil
	}
	return t.opts.hook(what)
}
