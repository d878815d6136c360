// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Spec is a wanted external interface.
type Spec struct {
	Attractor, Replica string // for messages, and as owner of addresses
	Type               string // as v1alpha1.InterfaceSpec.Type
	Name               string // in the frontend's namespace
	NetNS              string // the frontend's; empty: the process's own
	HostNetNS          string // the node's; empty: the process's own
	Base               string // nsm-vlan, macvlan: interface of the node
	VLAN               int    // nsm-vlan; 0: untagged
	IPv4, IPv6         string // prefixes as the attractor has them
	Service            string // nsm-vlan: network service
}

// Mesh requests interfaces over NSM.
type Mesh interface {
	// Connect requests or refreshes the interface, and tells when to do so again.
	Connect(ctx context.Context, spec Spec, had []netip.Prefix) (again time.Time, err error)
	// Watch returns when another Connect is needed before that time.
	Watch(ctx context.Context, spec Spec) error
	// Close gives the interface back.
	Close(ctx context.Context, spec Spec) error
}

// Deps is what an interface gets from the process around it.
type Deps struct {
	Log      *slog.Logger    // slog.Default() when nil
	OnChange func(Status)    // called for every change, the first included, never twice at once
	Mesh     Mesh            // for nsm-vlan
	Pool     *addresses.Pool // shared by the replicas; nil: of this interface alone
}

// Status is the state of the interface.
type Status struct {
	Ready     bool   // there, up, and with its addresses
	Problem   string // why not; empty when Ready
	Name      string
	Index     int
	MAC       net.HardwareAddr
	Addresses []netip.Prefix // all, without link-local ones
}

func (s Status) equal(o Status) bool {
	return s.Ready == o.Ready && s.Problem == o.Problem && s.Index == o.Index &&
		string(s.MAC) == string(o.MAC) && slices.Equal(s.Addresses, o.Addresses)
}

// way brings an interface into the frontend's namespace.
type way interface {
	// ensure makes it be there, as far as that is possible now. It returns the
	// index, and when it wants to be called again; zero: when links change. An
	// error is a Problem's text.
	ensure(ctx context.Context) (index int, again time.Time, err error)
	// undo gives it back, or removes it.
	undo(ctx context.Context) error
}

// Interface is an external interface that is followed.
type Interface struct {
	spec Spec
	deps Deps
	way  way
	ours []netip.Prefix // addresses that we assign
	stop context.CancelFunc
	work sync.WaitGroup
	wake chan struct{} // has room for one

	mu     sync.Mutex
	status Status
	closed bool
}

const (
	// retry is how long to wait after an error.
	retry = time.Second
	// look is how often to look although nothing is known to have changed.
	look = 5 * time.Second
)

func (s Spec) validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("external interface: "+format, args...))
		}
	}
	need(s.Name != "" && len(s.Name) <= 15, "Name %q is not 1 to 15 bytes", s.Name)
	switch s.Type {
	case v1alpha1.InterfaceNSMVlan, v1alpha1.InterfaceMacvlan:
		need(s.Base != "" && len(s.Base) <= 15, "Base %q is not 1 to 15 bytes", s.Base)
	case v1alpha1.InterfaceHostDevice, v1alpha1.InterfaceNetworkAttachment:
	default:
		need(false, "Type %q is not known", s.Type)
	}
	need(s.VLAN >= 0 && s.VLAN <= 4094, "VLAN %d is not between 0 and 4094", s.VLAN)
	return errors.Join(errs...)
}

// Open starts to bring the interface about, and to follow it. Only a bad Spec is an
// error; what is missing is told by Status.
func Open(ctx context.Context, spec Spec, deps Deps) (*Interface, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	i := &Interface{spec: spec, deps: deps, wake: make(chan struct{}, 1), status: Status{Name: spec.Name, Problem: "not looked for yet"}}
	switch spec.Type {
	case v1alpha1.InterfaceNSMVlan:
		if deps.Mesh == nil {
			return nil, errors.New("external interface: Mesh is needed for nsm-vlan")
		}
		i.way = &meshed{spec: spec, mesh: deps.Mesh, wake: i.poke}
	case v1alpha1.InterfaceMacvlan:
		i.way = &macvlan{spec}
	case v1alpha1.InterfaceHostDevice:
		i.way = &hostDevice{spec}
	case v1alpha1.InterfaceNetworkAttachment:
		i.way = attached{spec}
	}
	if err := i.take(); err != nil {
		return nil, err
	}
	ctx, i.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, ns := range slices.Compact([]string{spec.NetNS, spec.HostNetNS}) {
		if err := nl.WatchLinks(ctx, ns, func(nl.LinkEvent) { i.poke() }); err != nil {
			i.stop()
			return nil, fmt.Errorf("external interface: %w", err)
		}
	}
	i.work.Go(func() { i.follow(ctx) })
	return i, nil
}

// take gets the addresses that we assign: those of nsm-vlan come with the mesh's
// answer, those of network-attachment are Multus's.
func (i *Interface) take() error {
	if i.spec.Type != v1alpha1.InterfaceHostDevice && i.spec.Type != v1alpha1.InterfaceMacvlan {
		return nil
	}
	if i.deps.Pool == nil {
		pool, err := addresses.New("", i.spec.IPv4, i.spec.IPv6)
		if err != nil {
			return fmt.Errorf("external interface: %w", err)
		}
		i.deps.Pool = pool
	}
	var err error
	i.ours, _, err = i.deps.Pool.Take(i.owner(), i.owner(), i.had())
	if err != nil {
		return fmt.Errorf("external interface: %w", err)
	}
	return nil
}

func (i *Interface) owner() string { return i.spec.Attractor + "/" + i.spec.Replica }

// had are the addresses that the interface has already.
func (i *Interface) had() (found []netip.Prefix) {
	_ = nl.Do(i.spec.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(i.spec.Name)
		if err == nil {
			found, err = globals(h, link.Index)
		}
		return err
	})
	return found
}

func (i *Interface) poke() {
	select {
	case i.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (i *Interface) follow(ctx context.Context) {
	for {
		status, again := i.bring(ctx)
		if ctx.Err() != nil {
			return
		}
		i.publish(status)
		wait := look
		if status.Problem != "" {
			wait = retry
		}
		if !again.IsZero() {
			wait = max(0, min(wait, time.Until(again)))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-i.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// bring makes the interface what is wanted, and tells what it is.
func (i *Interface) bring(ctx context.Context) (Status, time.Time) {
	status := Status{Name: i.spec.Name}
	index, again, err := i.way.ensure(ctx)
	if err == nil {
		status.Index = index
		err = nl.Do(i.spec.NetNS, func(h *nl.Handle) error { return i.configure(h, &status) })
	}
	if err != nil {
		status.Problem = fmt.Sprintf("external interface %s of attractor %s: %v", i.spec.Name, i.spec.Attractor, err)
		return status, again
	}
	status.Ready = true
	return status, again
}

// configure adds our addresses, and reads the state.
func (i *Interface) configure(h *nl.Handle, status *Status) error {
	link, err := h.LinkByIndex(status.Index)
	if err != nil {
		return err
	}
	status.MAC = slices.Clone(link.MAC)
	is, err := h.Addresses(link.Index)
	if err != nil {
		return err
	}
	for _, a := range i.ours {
		if slices.Contains(is, a) {
			continue
		}
		if err := h.AddAddress(link.Index, a); err != nil && !errors.Is(err, nl.ErrExists) {
			return err
		}
	}
	if !link.Up {
		if i.spec.Type == v1alpha1.InterfaceNetworkAttachment {
			return errors.New("is down, and is not ours to bring up")
		}
		if err := h.SetUp(link.Index); err != nil {
			return err
		}
		if link, err = h.LinkByIndex(status.Index); err != nil {
			return err
		}
	}
	if status.Addresses, err = globals(h, link.Index); err != nil {
		return err
	}
	if !link.Carrier {
		return errors.New("has no carrier")
	}
	return nil
}

// globals are the addresses of an interface without the link-local ones.
func globals(h *nl.Handle, index int) ([]netip.Prefix, error) {
	all, err := h.Addresses(index)
	return slices.DeleteFunc(all, func(a netip.Prefix) bool { return a.Addr().IsLinkLocalUnicast() }), err
}

func (i *Interface) publish(status Status) {
	i.mu.Lock()
	changed := !i.status.equal(status)
	i.status = status
	i.mu.Unlock()
	if changed && i.deps.OnChange != nil {
		i.deps.OnChange(status)
	}
}

// Status returns the present state.
func (i *Interface) Status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// Abandon ends the work and leaves everything as it is, for the next process.
func (i *Interface) Abandon() error {
	i.end()
	return nil
}

func (i *Interface) end() (first bool) {
	i.mu.Lock()
	first, i.closed = !i.closed, true
	i.mu.Unlock()
	i.stop()
	i.work.Wait()
	return first
}

// Close gives the interface back, or removes it, and what was put on it. Only the
// first Close does anything, none does after Abandon.
func (i *Interface) Close(ctx context.Context) error {
	if !i.end() {
		return nil
	}
	errs := []error{i.strip(), i.way.undo(ctx)}
	if i.deps.Pool != nil && len(i.ours) > 0 {
		errs = append(errs, i.deps.Pool.Release(i.owner()))
	}
	return errors.Join(errs...)
}

// strip takes our addresses away.
func (i *Interface) strip() error {
	if len(i.ours) == 0 {
		return nil
	}
	return nl.Do(i.spec.NetNS, func(h *nl.Handle) error {
		link, err := h.LinkByName(i.spec.Name)
		if errors.Is(err, nl.ErrNotFound) {
			return nil
		}
		errs := []error{err}
		for _, a := range i.ours {
			if err := h.DeleteAddress(link.Index, a); !errors.Is(err, nl.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}
