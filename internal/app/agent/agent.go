// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nodecheck"
	"github.com/weft-project/weft/internal/workload"
	"github.com/weft-project/weft/pkg/networkservice/chains/client"
)

// Deps is what the agent is given by who starts it.
type Deps struct {
	// Security is how the agent takes part in the mesh; plain when zero.
	Security mesh.Security
	// Log; slog.Default() when nil.
	Log *slog.Logger
	// RegisterAdmin adds services to the administrator's socket; may be nil.
	RegisterAdmin func(grpc.ServiceRegistrar)
	// Checkers are the other parts of the node that "weft check" compares, in
	// their order; the agent comes last.
	Checkers []nodecheck.Part
	// Metrics gets the agent's metrics; none when nil.
	Metrics prometheus.Registerer
}

// Component is a running agent.
type Component struct {
	config  Config
	log     *slog.Logger
	client  *client.Client
	watcher *workload.Watcher
	manager *attachment.Manager
	servers []*socket
	gone    chan netns.ID
	drained chan struct{}
	stop    sync.Once
	stopErr error
	unbind  func() bool
	// unregister takes back the metrics; nil when there are none.
	unregister func()
}

// Start starts the agent. It stops at Stop or at the end of ctx. Attachments
// outlive it and are taken up again by the next Start with the same StateDir.
func Start(ctx context.Context, config Config, deps Deps) (*Component, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := &Component{config: config, log: deps.Log, gone: make(chan netns.ID), drained: make(chan struct{})}
	if c.log == nil {
		c.log = slog.Default()
	}
	if deps.Security.TokenGenerator == nil {
		deps.Security = mesh.Plain(mesh.DefaultTokenLifetime)
	}
	if err := c.start(ctx, deps); err != nil {
		return nil, errors.Join(fmt.Errorf("start agent: %w", err), c.Stop())
	}
	c.unbind = context.AfterFunc(ctx, c.halt)
	return c, nil
}

func (c *Component) start(ctx context.Context, deps Deps) (err error) {
	if c.client, err = client.New(client.Options{
		Name: c.config.Name, ConnectTo: c.config.ConnectTo,
		DialOptions: deps.Security.DialOptions, DialTimeout: c.config.DialTimeout, SendFD: c.config.SendFD,
	}); err != nil {
		return err
	}
	if c.watcher, err = workload.NewWatcher(workload.Options{
		LinkDir: filepath.Join(c.config.StateDir, "netns"),
		Gone:    func(id netns.ID) { c.gone <- id },
	}); err != nil {
		return err
	}
	store, err := attachment.NewFiles(filepath.Join(c.config.StateDir, "attachments"))
	if err != nil {
		return err
	}
	node := &node{watcher: c.watcher}
	if c.manager, err = attachment.New(context.WithoutCancel(ctx), attachment.Options{
		Mesh:       &nsm{client: c.client, node: node},
		Namespaces: node, Interfaces: node, Store: store,
		Node: c.config.Node, Log: c.log, RequestTimeout: c.config.RequestTimeout,
	}); err != nil {
		return err
	}
	go c.mourn()
	if deps.Metrics != nil {
		metrics := collector{c.manager}
		if err := deps.Metrics.Register(metrics); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		c.unregister = func() { deps.Metrics.Unregister(metrics) }
	}
	if err := errors.Join(store.DeleteStale(), c.watcher.Prune()); err != nil {
		return err
	}
	parts := append(slices.Clone(deps.Checkers), nodecheck.Part{Name: "agent", Checker: c.manager})
	return c.serve(func(r grpc.ServiceRegistrar) {
		nodecheck.Register(r, parts...)
		if deps.RegisterAdmin != nil {
			deps.RegisterAdmin(r)
		}
	})
}

// mourn tells the reconciler of dead namespaces. It starts after the
// reconciler, which the watcher is older than.
func (c *Component) mourn() {
	defer close(c.drained)
	for id := range c.gone {
		c.manager.NamespaceGone(id)
	}
}

func (c *Component) serve(registerAdmin func(grpc.ServiceRegistrar)) error {
	for _, s := range []struct {
		path  string
		mode  uint32
		admin bool
		more  func(grpc.ServiceRegistrar)
	}{{c.config.Socket, 0o666, false, nil}, {c.config.AdminSocket, 0o600, true, registerAdmin}} {
		server, err := serve(s.path, s.mode, s.admin, c.manager, s.more)
		if err != nil {
			return err
		}
		c.servers = append(c.servers, server)
		c.log.Info("serving", "socket", s.path, "admin", s.admin)
	}
	return nil
}

// Socket returns the path of the workloads' socket.
func (c *Component) Socket() string { return c.config.Socket }

// AdminSocket returns the path of the administrator's socket.
func (c *Component) AdminSocket() string { return c.config.AdminSocket }

// Stop ends the agent and releases all that it holds, except for the
// attachments: they stay connected until they expire.
func (c *Component) Stop() error {
	if c.unbind != nil {
		c.unbind()
	}
	c.halt()
	return c.stopErr
}

func (c *Component) halt() { c.stop.Do(func() { c.stopErr = c.release() }) }

func (c *Component) release() error {
	var errs []error
	if c.unregister != nil {
		c.unregister()
	}
	if c.manager != nil {
		c.manager.Stop() // ends the calls that wait for something
	}
	for _, server := range c.servers {
		errs = append(errs, server.stop())
	}
	if c.client != nil {
		errs = append(errs, c.client.Stop())
	}
	if c.watcher != nil {
		c.watcher.Close()
	}
	if c.manager != nil {
		close(c.gone)
		<-c.drained
	}
	return errors.Join(errs...)
}
