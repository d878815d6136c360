// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/inspector"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/daemon"
	"github.com/weft-project/weft/internal/metrics"
	"github.com/weft-project/weft/internal/resource"
)

// Stack is everything that runs.
type Stack struct {
	config   Config
	security mesh.Security
	metrics  *prometheus.Registry
	store    *resource.Store
	keep     bool // the data path outlives the stack
	mesh     *mesh.Mesh
	// forwarder is the data path, for weft check.
	forwarder *forwarder.Component
	vlans     *vlan.Client // requests frontends' interfaces

	mu       sync.Mutex
	pools    map[string]*addresses.Pool // of frontends' interfaces, by attractor and prefixes
	replicas []*Endpoint
	release  []func() error // what Start acquired, undone in reverse
}

// Start runs the components and returns when all of them serve.
func Start(ctx context.Context, config Config) (_ *Stack, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Stack{security: mesh.Plain(mesh.DefaultTokenLifetime), metrics: prometheus.NewRegistry(), pools: map[string]*addresses.Pool{}}
	if s.config, err = config.withDefaults(); err != nil {
		return nil, err
	}
	if s.keep, err = s.config.keepsOnStop(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.store, err = resource.Open(filepath.Join(s.config.StateDir, "resources")); err != nil {
		return nil, err
	}
	stopMetrics, err := metrics.Serve(s.config.MetricsAddress, s.metrics)
	if err != nil {
		return nil, err
	}
	s.onStop(stopMetrics)
	for _, start := range []func(context.Context) error{s.startMesh, s.startForwarder, s.startVLANs, s.startAgent, s.startReplicas} {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Stack) onStop(release func() error) { s.release = append(s.release, release) }

// The agent's sockets answer before Start has returned, so nothing of the
// daemon may depend on its result.
func (s *Stack) startAgent(ctx context.Context) error {
	server := daemon.NewServer(s.store, daemon.Options{Version: cli.Version(), Components: s.components})
	a, err := agent.Start(context.WithoutCancel(ctx), agent.Config{
		Node:        s.config.Node,
		ConnectTo:   s.mesh.URL(),
		Socket:      s.WorkloadSocket(),
		AdminSocket: s.AdminSocket(),
		StateDir:    filepath.Join(s.config.RunDir, agentDir),
	}, agent.Deps{
		Security: s.security, Log: s.config.Log, Metrics: s.metrics,
		Checkers: s.checkers(),
		RegisterAdmin: func(r grpc.ServiceRegistrar) {
			server.Register(r)
			inspector.NewServer(s.inspect).Register(r)
			inspector.NewFrontendServer(s.frontends).Register(r)
		},
	})
	if err != nil {
		return err
	}
	s.onStop(a.Stop)
	return nil
}

func (s *Stack) startReplicas(ctx context.Context) error {
	if err := s.discardReplicas(); err != nil {
		return err
	}
	for _, r := range s.config.Replicas {
		if _, err := s.StartReplica(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) socket(name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(s.config.RunDir, name+".sock")}
}

// WorkloadSocket returns the path of the agent's socket for workloads.
func (s *Stack) WorkloadSocket() string { return filepath.Join(s.config.RunDir, "agent.sock") }

// AdminSocket returns the path of the administrator's socket.
func (s *Stack) AdminSocket() string { return filepath.Join(s.config.RunDir, "admin.sock") }

// Apply applies manifests as `weft apply` does.
func (s *Stack) Apply(name string, manifests []byte) error {
	_, err := s.store.Apply([]resource.File{{Name: name, Data: manifests}}, resource.ApplyOptions{})
	if err != nil {
		return fmt.Errorf("apply %s: %w", name, err)
	}
	return nil
}

// Stop ends everything, the last started first. With the data path kept, the next
// stack finds the attachments in place; else they end.
func (s *Stack) Stop() error {
	s.mu.Lock()
	replicas, release := s.replicas, s.release
	s.replicas, s.release = nil, nil
	s.mu.Unlock()
	var errs []error
	for i := len(replicas) - 1; i >= 0; i-- {
		end := replicas[i].Stop
		if s.keep {
			end = replicas[i].Abandon
		}
		errs = append(errs, end())
	}
	for i := len(release) - 1; i >= 0; i-- {
		errs = append(errs, release[i]())
	}
	return errors.Join(errs...)
}
