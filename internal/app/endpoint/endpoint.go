// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/pkg/dataplane/lb"
	chain "github.com/weft-project/weft/pkg/networkservice/chains/endpoint"
)

// answerTimeout bounds the wait for calls that run when the endpoint stops.
const answerTimeout = time.Second

// release undoes something that Start did.
type release struct {
	stop    func() error
	abandon func() error // the same, but the data path works on
}

// Component is a running endpoint.
type Component struct {
	config Config
	log    *slog.Logger

	plane    *lb.LB
	balancer *balancer.Balancer
	server   *mesh.Server
	front    *front

	endpoints          registry.NetworkServiceEndpointRegistryClient
	wanted, registered *registry.NetworkServiceEndpoint
	release            []release // what Start acquired, undone in reverse

	stop    sync.Once
	stopErr error
	started chan struct{} // closed when Start has succeeded
	done    chan struct{} // closed when everything is released
}

// Start runs an endpoint until Stop, Abandon or the end of ctx. When it returns, the
// endpoint balances by deps.Balance and is registered.
func Start(ctx context.Context, config Config, deps Deps) (_ *Component, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	c := &Component{config: config.withDefaults(), log: deps.Log, started: make(chan struct{}), done: make(chan struct{})}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.log = c.log.With("endpoint", config.Name)
	defer func() {
		if err != nil {
			// A data path that works is better than none.
			keep := c.plane != nil && c.plane.Shadow()
			err = errors.Join(fmt.Errorf("start endpoint %s: %w", config.Name, err), c.undo(keep))
			close(c.done)
		}
	}()
	if err := c.startBalancer(ctx, deps); err != nil {
		return nil, err
	}
	if err := c.startFront(ctx, deps); err != nil {
		return nil, err
	}
	if err := c.startServer(deps); err != nil {
		return nil, err
	}
	if err := c.register(ctx, deps.Security); err != nil {
		return nil, err
	}
	c.balancer.Succeed(c.config.Grace) // targets can come from now on
	close(c.started)
	// The context of Stop is not the one that just ended.
	stopFollowing := context.AfterFunc(ctx, func() {
		if c.config.KeepOnEnd {
			_ = c.Abandon(context.WithoutCancel(ctx))
		} else {
			_ = c.Stop(context.WithoutCancel(ctx))
		}
	})
	go func() {
		<-c.done
		stopFollowing()
	}()
	return c, nil
}

func (c *Component) startBalancer(ctx context.Context, deps Deps) error {
	var err error
	c.plane, err = lb.New(lb.Config{
		NetNS: c.config.NetNS, Interface: c.config.ExternalInterface, VLAN: c.config.VLAN, Mode: c.config.Mode,
		MaxFlows: c.config.MaxFlows, MaxFragments: c.config.MaxFragments,
		MaxStreams: c.config.MaxStreams, MaxTargets: c.config.MaxTargets, MaxTableSize: c.config.MaxTableSize,
		PinDir: c.config.PinDir,
	})
	if err != nil {
		return err
	}
	c.release = append(c.release, release{c.plane.Close, c.plane.Abandon})
	c.keepPins()
	limits := balancer.Limits{
		Streams: c.config.MaxStreams, Targets: c.config.MaxTargets, Flows: c.config.MaxFlows,
		TableSize: c.config.TableSize, MaxTableSize: c.config.MaxTableSize,
	}
	c.balancer, err = balancer.New(c.plane, balancer.NamespaceLinks(c.config.NetNS), limits, c.log)
	if err != nil {
		return err
	}
	c.release = append(c.release, release{
		stop:    func() error { c.balancer.Close(); return nil },
		abandon: func() error { c.balancer.Abandon(); return nil },
	})
	if deps.Metrics != nil {
		// A process may run several endpoints.
		metrics := prometheus.WrapRegistererWith(prometheus.Labels{"endpoint": c.config.Name}, deps.Metrics)
		if err := metrics.Register(c.balancer); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
		c.onStop(func() error { metrics.Unregister(c.balancer); return nil })
	}
	return c.balancer.SetConfig(ctx, deps.Balance)
}

func (c *Component) startServer(deps Deps) error {
	if deps.Security.TokenGenerator == nil {
		deps.Security = mesh.Plain(mesh.DefaultTokenLifetime)
	}
	pool, err := c.newPool(deps.Security.TokenGenerator)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := chain.NewServer(ctx, chain.Config{
		Name: c.config.Name, TokenGenerator: deps.Security.TokenGenerator,
		NetNS: c.config.NetNS, Pool: pool, Balancer: c.balancer,
		MTU: c.config.MTU, IdleTimeout: c.config.IdleTimeout,
		OnIdle: func() { go c.idle() },
	})
	c.server, err = mesh.Serve(deps.Security, []*url.URL{c.config.ListenOn}, server.Register)
	if err != nil {
		cancel()
		return err
	}
	c.onStop(func() error {
		cancel() // ends what watches connections
		answering, done := context.WithTimeout(context.Background(), answerTimeout)
		defer done()
		c.server.Drain(answering)
		return c.server.Stop()
	})
	return nil
}

// idle stops an endpoint without clients, once it has started.
func (c *Component) idle() {
	select {
	case <-c.started:
		_ = c.Stop(context.Background()) // Stop of whoever waits for Done returns the error, too
	case <-c.done:
	}
}

// SetConfig puts another configuration of the balancer in force; clients that
// it concerns are told. On an error the one before stays.
func (c *Component) SetConfig(ctx context.Context, config balancer.Config) error {
	return c.balancer.SetConfig(ctx, config)
}

// Balancer returns the endpoint's balancer, for its state.
func (c *Component) Balancer() *balancer.Balancer { return c.balancer }

// DataPlane returns the endpoint's data plane, for its counters.
func (c *Component) DataPlane() *lb.LB { return c.plane }

// URL returns where the endpoint serves.
func (c *Component) URL() *url.URL { return c.server.URLs()[0] }

// Done is closed when the endpoint has stopped, by whatever cause.
func (c *Component) Done() <-chan struct{} { return c.done }

// Stop withdraws the VIPs, takes the endpoint out of the registry, so that clients
// leave, waits for them and their interfaces as long as Config.Drain and ctx allow, and releases
// everything.
func (c *Component) Stop(ctx context.Context) error {
	c.stop.Do(func() {
		defer close(c.done)
		c.front.drain(ctx) // before the targets leave
		err := c.unregister(ctx)
		drain, cancel := context.WithTimeout(ctx, c.config.Drain)
		defer cancel()
		// While its interface is there, a workload may still answer by it.
		none := func(s balancer.Snapshot) bool { return len(s.Targets)+len(s.Leaving) == 0 }
		if c.balancer.Wait(drain, none) != nil {
			s := c.balancer.Snapshot()
			c.log.Warn("clients stay connected", "targets", len(s.Targets), "leaving", len(s.Leaving))
		}
		c.stopErr = errors.Join(err, c.undo(false))
	})
	<-c.done
	return c.stopErr
}

// Abandon ends the endpoint for the one that follows it under the same name. The
// data path works on by what is pinned, and the registration stays: it expires
// if nobody comes. Without Config.PinDir nothing would work on, and Abandon is
// Stop.
func (c *Component) Abandon(ctx context.Context) error {
	if c.config.PinDir == "" {
		return c.Stop(ctx)
	}
	c.stop.Do(func() {
		defer close(c.done)
		c.stopErr = c.undo(true)
	})
	<-c.done
	return c.stopErr
}

func (c *Component) onStop(stop func() error) { c.release = append(c.release, release{stop, stop}) }

func (c *Component) undo(keep bool) error {
	var errs []error
	for _, r := range slices.Backward(c.release) {
		if keep {
			errs = append(errs, r.abandon())
		} else {
			errs = append(errs, r.stop())
		}
	}
	c.release = nil
	return errors.Join(errs...)
}
