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
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/internal/resource/compile"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/dataplane/lb"
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
	balance, err := compile.Balancer(s.store.Snapshot(), r.Trench, r.Conduit)
	if errors.Is(err, resource.ErrNotFound) {
		balance, err = &balancer.Config{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", r.Name, err)
	}
	component, err := endpoint.Start(context.WithoutCancel(ctx), endpoint.Config{
		Name: r.Name, ConnectTo: s.mesh.URL(), ListenOn: s.socket("lb-" + r.Name),
		Trench: r.Trench, Conduit: r.Conduit,
		NetNS: r.NetNS, ExternalInterface: r.Interface, VLAN: r.VLAN,
		CIDRPrefixes: r.Prefixes, MTU: r.MTU, TableSize: r.TableSize, MaxTableSize: r.MaxTableSize,
		Mode: r.Mode, MaxFlows: r.MaxFlows, MaxFragments: r.MaxFragments,
		PinDir:    s.replicaPins(r.Name),
		StateDir:  filepath.Join(s.config.StateDir, "leases"),
		Mechanism: r.Mechanism, MechanismPolicy: r.MechanismPolicy,
		FrontendSocket: filepath.Join(s.config.RunDir, endpoint.FrontendSocketName(r.Name)),
		Withdraw:       r.Withdraw,
	}, endpoint.Deps{Security: s.security, Log: s.config.Log, Metrics: s.metrics, Balance: *balance})
	if err != nil {
		return nil, err
	}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &Endpoint{stack: s, replica: r, component: component, cancel: cancel}
	s.mu.Lock()
	s.replicas = append(s.replicas, e)
	s.mu.Unlock()
	e.following.Go(func() {
		// It ends with the context only.
		_ = compile.Follow(following, s.store, r.Trench, r.Conduit, component.SetConfig, e.report)
	})
	e.following.Go(func() {
		_ = compile.FollowFrontend(following, s.store, r.Trench, r.Conduit, r.Name, compile.SecretDir(s.config.SecretsDir), component.SetFrontend)
	})
	e.following.Go(func() { e.reportFrontend(following) })
	return e, nil
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
	return e.applied
}

// Trench returns the trench that the replica serves.
func (e *Endpoint) Trench() string { return e.replica.Trench }

// Serving returns how many targets the table in force of a stream has.
func (e *Endpoint) Serving(stream string) int {
	return len(e.component.Balancer().Snapshot().Stream(stream).Targets)
}

// Component returns the endpoint itself, for its state and counters.
func (e *Endpoint) Component() *endpoint.Component { return e.component }

// Stop takes the replica out of the mesh, waits until its clients have left it
// and ends it.
func (e *Endpoint) Stop() error { return e.end(e.component.Stop) }

// Abandon ends the replica for the one that follows it under the same name: its
// data path works on, if it is pinned.
func (e *Endpoint) Abandon() error { return e.end(e.component.Abandon) }

func (e *Endpoint) end(stop func(context.Context) error) error {
	e.once.Do(func() {
		e.cancel()
		e.following.Wait()
		e.stopErr = stop(context.Background())
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
		c := &daemonv1.Component{Name: "endpoint " + e.replica.Name, Ready: true,
			Message: fmt.Sprintf("%s.%s on %s", e.replica.Conduit, e.replica.Trench, e.replica.Interface)}
		if err := e.problem(); err != nil {
			c.Ready, c.Message = false, err.Error()
		}
		list = append(list, c)
	}
	return list
}

// inspect returns the replicas that run, for weft trace, top and observe.
func (s *Stack) inspect() []inspect.Replica {
	s.mu.Lock()
	running := slices.Clone(s.replicas)
	s.mu.Unlock()
	list := make([]inspect.Replica, 0, len(running))
	for _, e := range running {
		list = append(list, e.component.Inspect())
	}
	return list
}
