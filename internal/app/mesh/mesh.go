// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"time"

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
	// Security is Plain(DefaultTokenLifetime) when zero.
	Security Security
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if (c.Dir == "") == (len(c.ListenOn) == 0) {
		errs = append(errs, errors.New("mesh: exactly one of Dir and ListenOn must be set"))
	}
	if c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("mesh: DialTimeout %s is negative", c.DialTimeout))
	}
	return errors.Join(errs...)
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

// Start runs nsmgr and registry until Stop or the end of ctx.
func Start(ctx context.Context, config Config) (*Mesh, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	chains, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pool := dial.NewPool(dial.WithDialOptions(config.Security.DialOptions...), dial.WithTimeout(config.DialTimeout))
	server, err := Serve(config.Security, config.ListenOn, newManager(chains, config, pool).register)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start nsmgr: %w", err)
	}
	m := &Mesh{server: server}
	m.stop = sync.OnceValue(func() error {
		defer cancel()
		defer pool.Close()
		return server.Stop()
	})
	context.AfterFunc(ctx, func() { _ = m.stop() })
	return m, nil
}

// URL returns where clients, forwarders and endpoints connect.
func (m *Mesh) URL() *url.URL { return m.server.URLs()[0] }

// Stop ends everything that Start began.
func (m *Mesh) Stop() error { return m.stop() }
