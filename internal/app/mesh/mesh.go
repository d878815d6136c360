// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weft-project/weft/pkg/networkservice/dial"
)

const (
	forwarderService = "forwarder" // the network service of forwarders
	// endpointExpiration is how long an endpoint that names no expiration stays
	// registered without a refresh.
	endpointExpiration = time.Minute
)

// DefaultDialTimeout bounds the wait for a component that does not answer. The
// SDK's 300 ms fail on a busy machine.
const DefaultDialTimeout = 10 * time.Second

// Config of the embedded control plane.
type Config struct {
	// Dir gets the socket nsmgr.sock. Empty when ListenOn is set.
	Dir string
	// ListenOn are the URLs to serve on instead, unix or tcp.
	ListenOn []*url.URL
	// Name of the nsmgr in the path of connections; "nsmgr" when empty.
	Name string
	// DialTimeout bounds connecting to forwarders; DefaultDialTimeout when zero.
	DialTimeout time.Duration
	// Registry is the registry of several nodes; without, the nsmgr is one of
	// its own.
	Registry *url.URL
	// URL is where other nodes reach this nsmgr; the first tcp URL that it
	// serves on when nil. Only with Registry.
	URL *url.URL
	// Security is Plain(DefaultTokenLifetime) when zero.
	Security Security
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if (c.Dir == "") == (len(c.ListenOn) == 0) {
		errs = append(errs, errors.New("mesh: exactly one of Dir and ListenOn must be set"))
	}
	if c.Registry != nil && !reachable(c.Registry) && c.Registry.Scheme != "unix" {
		errs = append(errs, fmt.Errorf("mesh: Registry %s is neither unix:///path nor tcp://host:port", c.Registry))
	}
	switch own := c.url(); {
	case c.Registry == nil && c.URL != nil:
		errs = append(errs, errors.New("mesh: URL is for other nodes, which need a Registry"))
	case c.Registry == nil:
	case own == nil:
		errs = append(errs, errors.New("mesh: with a Registry, one of ListenOn must be tcp, or URL set"))
	case !reachable(own):
		errs = append(errs, fmt.Errorf("mesh: URL %s is not tcp://host:port that other nodes reach", own))
	}
	if c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("mesh: DialTimeout %s is negative", c.DialTimeout))
	}
	return errors.Join(errs...)
}

// url returns where other nodes reach the nsmgr, nil when nowhere.
func (c Config) url() *url.URL {
	if c.URL != nil {
		return c.URL
	}
	for _, u := range c.ListenOn {
		if u.Scheme == "tcp" {
			return u
		}
	}
	return nil
}

// reachable reports whether another node could connect to u.
func reachable(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "tcp" && u.Hostname() != "" && u.Port() != "" && (err != nil || !ip.IsUnspecified())
}

func (c Config) withDefaults() Config {
	if c.Dir != "" {
		c.ListenOn = []*url.URL{{Scheme: "unix", Path: filepath.Join(c.Dir, "nsmgr.sock")}}
	}
	if c.Name == "" {
		c.Name = "nsmgr"
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	c.Security = c.Security.withDefaults()
	return c
}

// Mesh is a running control plane.
type Mesh struct {
	server *Server
	stop   func() error
}

// Start runs the nsmgr, and its registry unless there is one elsewhere, until
// Stop or the end of ctx.
func Start(ctx context.Context, config Config) (_ *Mesh, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	chains, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pool := dial.NewPool(dial.WithDialOptions(config.Security.DialOptions...), dial.WithTimeout(config.DialTimeout))
	m := &Mesh{}
	var work sync.WaitGroup
	m.stop = sync.OnceValue(func() error {
		var err error
		if m.server != nil {
			err = m.server.Stop()
		}
		cancel()
		work.Wait()
		pool.Close()
		return err
	})
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start nsmgr: %w", err), m.stop())
		}
	}()
	if config.Registry == nil {
		m.server, err = Serve(config.Security, config.ListenOn, newManager(chains, config, pool, nil, "").register)
	} else {
		err = m.startShared(chains, config, pool, &work)
	}
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = m.stop() })
	return m, nil
}

// startShared starts an nsmgr with a registry elsewhere. The sockets are there
// before the chain, which needs to know their URLs.
func (m *Mesh) startShared(ctx context.Context, config Config, pool *dial.Pool, work *sync.WaitGroup) error {
	conn, err := Dial(config.Registry, config.Security)
	if err != nil {
		return err
	}
	var manager *manager
	m.server, err = serve(config.Security, config.ListenOn, func(s *grpc.Server, urls []*url.URL) {
		config.ListenOn = urls // a port 0 has become a real one
		manager = newManager(ctx, config, pool, conn, config.url().String())
		manager.register(s)
	})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	work.Go(func() {
		manager.uplink.Run(ctx)
		_ = conn.Close()
	})
	return nil
}

// URL returns where clients, forwarders and endpoints connect.
func (m *Mesh) URL() *url.URL { return m.server.URLs()[0] }

// URLs returns everything that the nsmgr serves on.
func (m *Mesh) URLs() []*url.URL { return m.server.URLs() }

// Stop ends everything that Start began.
func (m *Mesh) Stop() error { return m.stop() }

// NodeName returns name or, when it is empty, one made of a component and the
// host's name, which is unique in a mesh.
func NodeName(component, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the host's name: %w", err)
	}
	return component + "-" + host, nil
}
