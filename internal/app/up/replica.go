// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/resource/compile"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Endpoint is a running replica that follows the resources.
type Endpoint struct {
	stack     *Stack
	replica   Replica
	component *endpoint.Component
	cancel    context.CancelFunc
	following sync.WaitGroup

	mu      sync.Mutex
	applied error // of the newest resources
	once    sync.Once
	stopErr error
}

// StartReplica runs a load balancer until its Stop or the stack's.
func (s *Stack) StartReplica(ctx context.Context, r Replica) (*Endpoint, error) {
	changes, unsubscribe := s.store.Subscribe()
	snapshot := s.store.Snapshot()
	balance, err := balance(snapshot, r)
	if err != nil {
		unsubscribe()
		return nil, err
	}
	component, err := endpoint.Start(context.WithoutCancel(ctx), endpoint.Config{
		Name: r.Name, ConnectTo: s.mesh.URL(), ListenOn: s.socket("lb-" + r.Name),
		Trench: r.Trench, Conduit: r.Conduit,
		NetNS: r.NetNS, ExternalInterface: r.Interface, VLAN: r.VLAN,
		CIDRPrefixes: r.Prefixes, MTU: r.MTU, TableSize: r.TableSize,
	}, endpoint.Deps{Security: s.security, Log: s.config.Log, Metrics: s.config.Metrics, Balance: balance})
	if err != nil {
		unsubscribe()
		return nil, err
	}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &Endpoint{stack: s, replica: r, component: component, cancel: cancel}
	e.report(snapshot, nil)
	e.following.Go(func() {
		defer unsubscribe()
		e.follow(following, changes, snapshot.Generation)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicas = append(s.replicas, e)
	return e, nil
}

// balance is what the resources want of a replica. A conduit that does not
// exist yet balances nothing.
func balance(s *resource.Snapshot, r Replica) (balancer.Config, error) {
	config, err := compile.Balancer(s, r.Trench, r.Conduit)
	if errors.Is(err, resource.ErrNotFound) {
		return balancer.Config{}, nil
	}
	if err != nil {
		return balancer.Config{}, fmt.Errorf("replica %s: %w", r.Name, err)
	}
	return *config, nil
}

// follow puts each new set of resources in force. One that cannot be leaves
// the one before, and shows in the conditions.
func (e *Endpoint) follow(ctx context.Context, changes <-chan struct{}, generation uint64) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		snapshot := e.stack.store.Snapshot()
		if snapshot.Generation == generation {
			continue // only conditions have changed
		}
		generation = snapshot.Generation
		config, err := balance(snapshot, e.replica)
		if err == nil {
			err = e.component.SetConfig(ctx, config)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			e.stack.config.Log.Error("resources are not in force", "endpoint", e.replica.Name, "err", err)
		}
		e.report(snapshot, err)
	}
}

// report sets the Programmed condition of the objects that this replica
// carries out: True when all replicas of the conduit agree.
func (e *Endpoint) report(snapshot *resource.Snapshot, err error) {
	e.mu.Lock()
	e.applied = err
	e.mu.Unlock()
	condition := e.stack.programmed(e, err)
	for _, o := range resource.OfTrench[v1alpha1.Object](snapshot, e.replica.Trench) {
		old := o.GetStatus().Condition(v1alpha1.ConditionProgrammed)
		if old == nil || old.Reason == v1alpha1.ReasonUnsupported || !e.concerns(snapshot, o) {
			continue
		}
		e.stack.store.SetConditions(resource.KeyOf(o), o.GetMeta().Generation, condition)
	}
}

func (s *Stack) programmed(e *Endpoint, err error) v1alpha1.Condition {
	c := v1alpha1.Condition{Type: v1alpha1.ConditionProgrammed, Status: v1alpha1.ConditionTrue, Reason: v1alpha1.ReasonProgrammed}
	if err == nil {
		err = s.problemBeside(e)
	}
	if err != nil {
		c.Status, c.Reason, c.Message = v1alpha1.ConditionFalse, v1alpha1.ReasonInvalid, err.Error()
	}
	return c
}

// problemBeside returns why another replica of e's conduit has older resources.
func (s *Stack) problemBeside(e *Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.replicas {
		if other == e || other.replica.Trench != e.replica.Trench || other.replica.Conduit != e.replica.Conduit {
			continue
		}
		other.mu.Lock()
		err := other.applied
		other.mu.Unlock()
		if err != nil {
			return fmt.Errorf("replica %s: %w", other.replica.Name, err)
		}
	}
	return nil
}

// concerns tells whether an object of the trench belongs to the conduit.
func (e *Endpoint) concerns(s *resource.Snapshot, o v1alpha1.Object) bool {
	conduit := e.replica.Conduit
	switch o := o.(type) {
	case *v1alpha1.Conduit:
		return o.Metadata.Name == conduit
	case *v1alpha1.Stream:
		return o.Spec.Conduit == conduit
	case *v1alpha1.Flow:
		return slices.ContainsFunc(resource.OfTrench[*v1alpha1.Stream](s, e.replica.Trench), func(stream *v1alpha1.Stream) bool {
			return stream.Metadata.Name == o.Spec.Stream && stream.Spec.Conduit == conduit
		})
	case *v1alpha1.Attractor:
		return slices.Contains(o.Spec.Composites, conduit)
	case *v1alpha1.Vip, *v1alpha1.Gateway:
		return s.Attractor(e.replica.Trench, conduit) != nil
	}
	return false
}

// Trench returns the trench that the replica serves.
func (e *Endpoint) Trench() string { return e.replica.Trench }

// Serving returns how many targets the table in force of a stream has.
func (e *Endpoint) Serving(stream string) int {
	return len(e.component.Balancer().Snapshot().Stream(stream).Targets)
}

// Stop takes the replica out of the mesh, waits until its clients have left it
// and ends it.
func (e *Endpoint) Stop() error {
	e.once.Do(func() {
		e.cancel()
		e.following.Wait()
		e.stopErr = e.component.Stop(context.Background())
		e.stack.mu.Lock()
		defer e.stack.mu.Unlock()
		e.stack.replicas = slices.DeleteFunc(e.stack.replicas, func(other *Endpoint) bool { return other == e })
	})
	return e.stopErr
}

// components tells the daemon what runs.
func (s *Stack) components() []*daemonv1.Component {
	list := []*daemonv1.Component{
		{Name: "nsmgr", Ready: true, Message: s.mesh.URL().String()},
		{Name: "forwarder", Ready: true, Message: s.socket("forwarder").String()},
		{Name: "agent", Ready: true, Message: s.agent.Socket()},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.replicas {
		e.mu.Lock()
		c := &daemonv1.Component{Name: "endpoint " + e.replica.Name, Ready: e.applied == nil,
			Message: fmt.Sprintf("%s.%s on %s", e.replica.Conduit, e.replica.Trench, e.replica.Interface)}
		if e.applied != nil {
			c.Message = e.applied.Error()
		}
		e.mu.Unlock()
		list = append(list, c)
	}
	return list
}
