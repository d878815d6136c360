// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/external"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/resource/compile"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// Endpoint is a replica that follows the resources.
type Endpoint struct {
	stack     *Stack
	replica   Replica
	outside   *outside // nil: the replica names an interface that is there
	cancel    context.CancelFunc
	following sync.WaitGroup
	told      chan struct{} // has room for one: what frontend returns may differ

	mu      sync.Mutex
	running *running // nil: there is no external interface yet
	applied error    // of the newest resources
	once    sync.Once
	stopErr error
}

// running is a load balancer with what tells it the resources.
type running struct {
	*endpoint.Component
	cancel    context.CancelFunc
	following sync.WaitGroup
}

// StartReplica runs a load balancer until its Stop or the stack's. One that names no
// interface begins when the interface of its attractor is there.
func (s *Stack) StartReplica(ctx context.Context, r Replica) (*Endpoint, error) {
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &Endpoint{stack: s, replica: r, cancel: cancel, told: make(chan struct{}, 1)}
	if r.Interface == "" {
		e.outside = &outside{Endpoint: e, wake: make(chan struct{}, 1), problem: "the external interface has not been looked for yet"}
	}
	s.mu.Lock()
	s.replicas = append(s.replicas, e)
	s.mu.Unlock()
	if e.outside != nil {
		e.following.Go(func() { e.outside.follow(following) })
	} else if err := e.start(ctx, r.Interface); err != nil {
		return nil, errors.Join(err, e.Abandon())
	}
	e.following.Go(func() { e.reportFrontend(following) })
	return e, nil
}

// start runs the load balancer on an external interface.
func (e *Endpoint) start(ctx context.Context, external string) error {
	s, r := e.stack, e.replica
	balance, err := compile.Balancer(s.store.Snapshot(), r.Trench, r.Conduit)
	if errors.Is(err, resource.ErrNotFound) {
		balance, err = &balancer.Config{}, nil
	}
	if err != nil {
		return fmt.Errorf("replica %s: %w", r.Name, err)
	}
	component, err := endpoint.Start(context.WithoutCancel(ctx), endpoint.Config{
		Name: r.Name, ConnectTo: s.mesh.URL(), ListenOn: s.socket("lb-" + r.Name),
		Trench: r.Trench, Conduit: r.Conduit,
		NetNS: r.NetNS, ExternalInterface: external, VLAN: r.VLAN,
		CIDRPrefixes: r.Prefixes, MTU: r.MTU, TableSize: r.TableSize, MaxTableSize: r.MaxTableSize,
		Mode: r.Mode, MaxFlows: r.MaxFlows, MaxFragments: r.MaxFragments,
		PinDir:    s.replicaPins(r.Name),
		StateDir:  filepath.Join(s.config.StateDir, "leases"),
		Mechanism: r.Mechanism, MechanismPolicy: r.MechanismPolicy,
		FrontendSocket: filepath.Join(s.config.RunDir, endpoint.FrontendSocketName(r.Name)),
		Withdraw:       r.Withdraw,
	}, endpoint.Deps{Security: s.security, Log: s.config.Log, Metrics: s.metrics, Balance: *balance})
	if err != nil {
		return err
	}
	run := &running{Component: component}
	ctx, run.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e.mu.Lock()
	e.running = run
	e.mu.Unlock()
	run.following.Go(func() {
		// It ends with the context only.
		_ = compile.Follow(ctx, s.store, r.Trench, r.Conduit, component.SetConfig, e.report)
	})
	run.following.Go(func() {
		_ = compile.FollowFrontend(ctx, s.store, r.Trench, r.Conduit, r.Name, compile.SecretDir(s.config.SecretsDir), component.SetFrontend)
	})
	return nil
}

// halt ends the load balancer that runs, if one does.
func (e *Endpoint) halt(stop func(*endpoint.Component, context.Context) error) error {
	e.mu.Lock()
	run := e.running
	e.mu.Unlock()
	if run == nil {
		return nil
	}
	run.cancel()
	run.following.Wait()
	return stop(run.Component, context.Background())
}

// replicaPrefix begins the names of the replicas' pin directories.
const replicaPrefix = "lb-"

// replicaPins returns the directory where a replica's data path is pinned, so
// that it works on over a restart; "" when nothing is pinned. A BPF file system
// takes no dots in names.
func (s *Stack) replicaPins(name string) string {
	if s.config.PinDir == "" {
		return ""
	}
	return filepath.Join(s.config.PinDir, replicaPrefix+strings.ReplaceAll(url.PathEscape(name), ".", "%2E"))
}

// discardReplicas removes the data paths and frontends of replicas that are configured no
// more.
func (s *Stack) discardReplicas() error {
	found, err := s.config.pinnedReplicas()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range found {
		if !slices.ContainsFunc(s.config.Replicas, func(r Replica) bool { return s.replicaPins(r.Name) == dir }) {
			errs = append(errs, lb.Discard(dir))
		}
	}
	for _, path := range s.config.frontendSockets() {
		configured := func(r Replica) bool { return endpoint.FrontendSocketName(r.Name) == filepath.Base(path) }
		if !slices.ContainsFunc(s.config.Replicas, configured) {
			errs = append(errs, endFrontend(path))
		}
	}
	return errors.Join(errs...)
}

// pinnedReplicas returns the pin directories of replicas, configured or not.
func (c Config) pinnedReplicas() ([]string, error) {
	if c.PinDir == "" || c.PinDir == noPins {
		return nil, nil
	}
	return filepath.Glob(filepath.Join(c.PinDir, replicaPrefix+"*"))
}

// report notes whether the replica carries out the resources. The conduit's
// objects are programmed when all of its replicas on this host do.
func (e *Endpoint) report(of *resource.Snapshot, err error) {
	if err != nil {
		e.stack.config.Log.Error("resources are not in force", "endpoint", e.replica.Name, "err", err)
		err = fmt.Errorf("replica %s: %w", e.replica.Name, err)
	}
	e.mu.Lock()
	e.applied = err
	e.mu.Unlock()
	e.stack.store.ReportProgrammed(of, e.replica.Trench, e.replica.Conduit,
		errors.Join(e.stack.problems(e.replica.Trench, e.replica.Conduit)...))
}

// problems returns why replicas of a conduit do not carry out the newest
// resources.
func (s *Stack) problems(trench, conduit string) (errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.replicas {
		if e.replica.Trench == trench && e.replica.Conduit == conduit {
			errs = append(errs, e.problem())
		}
	}
	return errs
}

func (e *Endpoint) problem() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil && e.outside != nil {
		return fmt.Errorf("replica %s: %s", e.replica.Name, e.outside.problem)
	}
	return e.applied
}

// Trench returns the trench that the replica serves.
func (e *Endpoint) Trench() string { return e.replica.Trench }

// Serving returns how many targets the table in force of a stream has.
func (e *Endpoint) Serving(stream string) int {
	c := e.Component()
	if c == nil {
		return 0
	}
	return len(c.Balancer().Snapshot().Stream(stream).Targets)
}

// Component returns the endpoint itself, for its state and counters; nil while it
// waits for its external interface.
func (e *Endpoint) Component() *endpoint.Component {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil {
		return nil
	}
	return e.running.Component
}

// Stop takes the replica out of the mesh, waits until its clients have left it
// and ends it.
func (e *Endpoint) Stop() error {
	return e.end((*endpoint.Component).Stop, (*external.Interface).Close)
}

// Abandon ends the replica for the one that follows it under the same name: its
// data path works on, if it is pinned, and its external interface stays.
func (e *Endpoint) Abandon() error {
	return e.end((*endpoint.Component).Abandon, func(i *external.Interface, _ context.Context) error { return i.Abandon() })
}

func (e *Endpoint) end(stop func(*endpoint.Component, context.Context) error, leave func(*external.Interface, context.Context) error) error {
	e.once.Do(func() {
		e.cancel()
		e.following.Wait()
		e.stopErr = e.halt(stop)
		if e.outside != nil {
			e.stopErr = errors.Join(e.stopErr, e.outside.leave(leave))
		}
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
		{Name: "agent", Ready: true, Message: s.WorkloadSocket()},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.replicas {
		on := e.replica.Interface
		if on == "" {
			on = "its attractor's interface"
		}
		c := &daemonv1.Component{Name: "endpoint " + e.replica.Name, Ready: true,
			Message: fmt.Sprintf("%s.%s on %s", e.replica.Conduit, e.replica.Trench, on)}
		if err := e.problem(); err != nil {
			c.Ready, c.Message = false, err.Error()
		}
		list = append(list, c)
	}
	return list
}

// active returns the endpoints that run.
func (s *Stack) active() (list []*endpoint.Component) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.replicas {
		if c := e.Component(); c != nil {
			list = append(list, c)
		}
	}
	return list
}

// inspect returns the replicas that run, for weft trace, top and observe.
func (s *Stack) inspect() []inspect.Replica {
	running := s.active()
	list := make([]inspect.Replica, 0, len(running))
	for _, c := range running {
		list = append(list, c.Inspect())
	}
	return list
}
