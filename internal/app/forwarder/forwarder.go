// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	registrychain "github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/internal/trunk"
	chain "github.com/weft-project/weft/pkg/networkservice/chains/forwarder"
	"github.com/weft-project/weft/pkg/networkservice/dial"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

const (
	// registerTimeout bounds the first registration; the nsmgr may be starting,
	// too.
	registerTimeout = 30 * time.Second
	// unregisterTimeout is short: an nsmgr that is gone forgets by itself.
	unregisterTimeout = 2 * time.Second
)

// Component is a running forwarder.
type Component struct {
	config   Config
	logger   *slog.Logger
	stitcher *stitch.Stitcher
	trunk    *trunk.Trunk
	server   *mesh.Server
	release  []func() error // in the order of Stop's reverse
	stop     func() error
}

// Start runs the forwarder until Stop or the end of ctx. When it returns, the
// forwarder is registered.
func Start(ctx context.Context, config Config, deps Deps) (*Component, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.Security.TokenGenerator == nil {
		deps.Security = mesh.Plain(mesh.DefaultTokenLifetime)
	}
	c := &Component{config: config.withDefaults(), logger: deps.Log.With("forwarder", config.Name)}
	c.stop = sync.OnceValue(c.releaseAll)
	if err := c.start(ctx, deps); err != nil {
		return nil, errors.Join(fmt.Errorf("start forwarder %s: %w", config.Name, err), c.stop())
	}
	context.AfterFunc(ctx, func() { _ = c.stop() })
	return c, nil
}

func (c *Component) start(ctx context.Context, deps Deps) error {
	mechanisms, err := c.startDataPath(deps.Metrics)
	if err != nil {
		return err
	}
	conn, err := mesh.Dial(c.config.ConnectTo, deps.Security)
	if err != nil {
		return err
	}
	c.onStop(conn.Close)
	pool := dial.NewPool(dial.WithDialOptions(deps.Security.DialOptions...), dial.WithTimeout(c.config.DialTimeout))
	c.onStop(func() error { pool.Close(); return nil })

	chains, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.onStop(func() error { cancel(); return nil })
	forwarder := chain.NewServer(chains, chain.Config{
		Name:           c.config.Name,
		TokenGenerator: deps.Security.TokenGenerator,
		Services:       registry.NewNetworkServiceRegistryClient(conn),
		Endpoints: registrychain.NewNetworkServiceEndpointRegistryClient(
			// An upstream nsmgr answers with descriptors of sockets.
			registryrecvfd.NewNetworkServiceEndpointRegistryClient(),
			registry.NewNetworkServiceEndpointRegistryClient(conn),
		),
		Pool:     pool,
		Stitcher: c.stitcher,
		Tunnels:  mechanisms,
		VLANs:    c.trunk,
		Devices:  c.config.Devices,
	})
	c.server, err = mesh.Serve(deps.Security, []*url.URL{c.config.ListenOn}, forwarder.Register)
	if err != nil {
		return err
	}
	c.onStop(c.server.Stop)
	return c.register(ctx, deps.Security)
}

// startDataPath opens, or adopts, everything that packets pass.
func (c *Component) startDataPath(metrics prometheus.Registerer) (mechanisms tunnelmech.Config, err error) {
	options := stitch.Options{NetNS: c.config.NetNS, PinDir: c.config.PinDir, Grace: c.config.Grace, Logger: c.logger}
	var ways *tunnels
	if c.config.TunnelIP.IsValid() {
		if ways, err = openTunnels(c.config, c.logger); err != nil {
			return mechanisms, err
		}
		c.onStop(func() error { return ways.close(c.keeps()) })
		options.Remotes = ways.follow
	}
	if c.stitcher, err = stitch.New(options); err != nil {
		return mechanisms, err
	}
	c.onStop(func() error { return c.stitcher.Close(c.keeps()) })
	c.trunk, err = trunk.New(trunk.Options{NetNS: c.config.NetNS, PinDir: c.config.vlanPinDir(), Grace: c.config.Grace, Logger: c.logger})
	if err != nil {
		return mechanisms, err
	}
	c.onStop(func() error { return c.trunk.Close(c.keeps()) })
	if ways != nil {
		if err := ways.attach(c.stitcher); err != nil {
			return mechanisms, err
		}
		mechanisms = ways.mechanisms(c.stitcher)
	}
	if metrics == nil {
		return mechanisms, nil
	}
	for _, state := range []prometheus.Collector{collector{c.stitcher}, vlanCollector{c.trunk}} {
		if err := metrics.Register(state); err != nil {
			return mechanisms, fmt.Errorf("register metrics: %w", err)
		}
		c.onStop(func() error { metrics.Unregister(state); return nil })
	}
	if ways != nil {
		undo, err := ways.registerMetrics(metrics)
		if err != nil {
			return mechanisms, err
		}
		c.onStop(undo)
	}
	return mechanisms, nil
}

// keeps says whether the data path outlives the forwarder: also when it cannot
// even start, because then the one before it has been killed.
func (c *Component) keeps() bool { return c.config.KeepOnStop }

// register makes the forwarder known, and keeps it so until it stops.
func (c *Component) register(ctx context.Context, security mesh.Security) error {
	var options []mesh.RegistryOption
	if c.config.PassSocket {
		options = append(options, mesh.PassSocket())
	}
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	registration, err := mesh.Register(ctx, c.config.ConnectTo, security, &registry.NetworkServiceEndpoint{
		Name:                c.config.Name,
		NetworkServiceNames: []string{c.config.Service},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{
			c.config.Service: {Labels: c.config.Labels},
		},
		Url: c.URL().String(),
	}, options...)
	if err != nil {
		return err
	}
	c.onStop(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), unregisterTimeout)
		defer cancel()
		if err := registration.Unregister(ctx); err != nil {
			// It expires there.
			c.logger.Warn("cannot unregister", log.Err(err))
		}
		return nil
	})
	c.logger.Info("forwarder serves", "url", c.URL(), "registered", registration.NSE().GetName())
	return nil
}

// URL returns where the forwarder listens.
func (c *Component) URL() *url.URL { return c.server.URLs()[0] }

// Stitcher returns the forwarder's data path, for its state and counters.
func (c *Component) Stitcher() *stitch.Stitcher { return c.stitcher }

// Stop unregisters the forwarder, stops serving and, unless they are to be kept,
// removes all interfaces that it made.
func (c *Component) Stop() error { return c.stop() }

func (c *Component) onStop(release func() error) { c.release = append(c.release, release) }

func (c *Component) releaseAll() error {
	var errs []error
	for i := len(c.release) - 1; i >= 0; i-- {
		errs = append(errs, c.release[i]())
	}
	return errors.Join(errs...)
}
