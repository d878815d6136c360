// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/internal/external"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

const (
	// outsideRetry is how long to wait after an error.
	outsideRetry = time.Second
	// outsideClose bounds giving an interface back.
	outsideClose = 5 * time.Second
)

// outside brings about the external interface that a replica's attractor names, and
// runs the load balancer on it.
type outside struct {
	*Endpoint
	wake  chan struct{}       // has room for one
	iface *external.Interface // nil: there is none to be
	index int                 // of the interface that the load balancer was started on; 0: none

	// Guarded by the endpoint's mu.
	spec    external.Spec // of iface
	problem string        // empty: it runs
}

// follow carries out what attractor and interface become, until ctx ends.
func (o *outside) follow(ctx context.Context) {
	news, cancel := o.stack.store.Subscribe()
	defer cancel()
	for {
		err := o.carryOut(ctx)
		o.note(err)
		var again <-chan time.Time
		if err != nil {
			again = time.After(outsideRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-o.wake:
		case <-again:
		}
	}
}

// note keeps what is wrong, for conditions.
func (o *outside) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	o.mu.Lock()
	changed := o.problem != text
	o.problem = text
	o.mu.Unlock()
	if changed && err != nil {
		o.stack.config.Log.Warn("external interface", "endpoint", o.replica.Name, "err", err)
	}
	poke(o.told)
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake already
	}
}

func (o *outside) carryOut(ctx context.Context) error {
	if want := o.wanted(); want != o.spec {
		if err := o.replace(ctx, want); err != nil {
			return err
		}
	}
	if o.iface == nil {
		return fmt.Errorf("no attractor of conduit %s of trench %s says what the external interface is", o.replica.Conduit, o.replica.Trench)
	}
	status := o.iface.Status()
	if !status.Ready {
		return errors.New(status.Problem)
	}
	if status.Index == o.index {
		return nil
	}
	// One that was made again is another one: nothing on it is ours.
	if err := o.rest(); err != nil {
		return err
	}
	if err := o.start(ctx, status.Name); err != nil {
		return err
	}
	o.index = status.Index
	return nil
}

// rest ends the load balancer until there is an interface for it again.
func (o *outside) rest() error {
	err := o.halt((*endpoint.Component).Stop)
	o.mu.Lock()
	o.running = nil
	o.mu.Unlock()
	o.index = 0
	return err
}

// replace gives the interface up for another one.
func (o *outside) replace(ctx context.Context, want external.Spec) error {
	errs := []error{o.rest(), o.leave((*external.Interface).Close)}
	o.mu.Lock()
	o.spec = external.Spec{}
	o.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if want.Type != "" {
		pool, err := o.stack.poolOf(o.replica.Trench, want)
		if err != nil {
			return err
		}
		o.iface, err = external.Open(ctx, want, external.Deps{
			Log: o.stack.config.Log, Mesh: o.stack.vlans, Pool: pool, OnChange: func(external.Status) { poke(o.wake) },
		})
		if err != nil {
			return err
		}
	}
	o.mu.Lock()
	o.spec = want
	o.mu.Unlock()
	return nil
}

// leave closes or abandons the interface.
func (o *outside) leave(how func(*external.Interface, context.Context) error) error {
	if o.iface == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), outsideClose)
	defer cancel()
	err := how(o.iface, ctx)
	o.iface = nil
	return err
}

// wanted is the interface that the attractor names now; the zero value: none.
func (o *outside) wanted() external.Spec {
	a := o.stack.store.Snapshot().Attractor(o.replica.Trench, o.replica.Conduit)
	if a == nil {
		return external.Spec{}
	}
	i := a.Spec.Interface
	spec := external.Spec{
		Attractor: a.Metadata.Name, Replica: o.replica.Name, Type: i.Type, Name: i.Name,
		NetNS: o.replica.NetNS, HostNetNS: o.stack.config.NetNS, IPv4: i.PrefixIPv4, IPv6: i.PrefixIPv6,
	}
	switch i.Type {
	case v1alpha1.InterfaceNSMVlan:
		spec.Base, spec.VLAN = i.NSMVlan.BaseInterface, int(*i.NSMVlan.VlanID)
		spec.Service = vlan.Service(a.Metadata.Name, o.replica.Trench)
	case v1alpha1.InterfaceMacvlan:
		spec.Base = i.Macvlan.BaseInterface
	case v1alpha1.InterfaceNetworkAttachment:
		if name := i.NetworkAttachments[0].Interface; name != "" {
			spec.Name = name
		}
	}
	return spec
}

// poolOf returns the addresses that an attractor's interfaces on this host share.
func (s *Stack) poolOf(trench string, spec external.Spec) (*addresses.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := trench + "/" + spec.Attractor + " " + spec.IPv4 + " " + spec.IPv6
	if pool := s.pools[key]; pool != nil {
		return pool, nil
	}
	pool, err := addresses.New("", spec.IPv4, spec.IPv6)
	if err == nil {
		s.pools[key] = pool
	}
	return pool, err
}
