// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/weft-project/weft/internal/addresses"
	"github.com/weft-project/weft/internal/app/mesh"
	chain "github.com/weft-project/weft/pkg/networkservice/chains/vlan"
)

// registerTimeout bounds the first registration; the nsmgr may be starting, too.
const registerTimeout = 30 * time.Second

// Service returns the network service of an attractor's VLAN.
func Service(attractor, trench string) string { return "vlan." + attractor + "." + trench }

// Config of the endpoint of a VLAN.
type Config struct {
	Name       string // of the NSE; unique in the mesh
	Service    string
	ConnectTo  *url.URL // nsmgr
	ListenOn   *url.URL
	PassSocket bool
	Base       string // interface of the frontends' nodes
	VLAN       int    // 0: untagged
	IPv4, IPv6 string // prefixes as an attractor has them
	// File keeps who holds which address over restarts; none when empty.
	File string
}

// Component is a running endpoint.
type Component struct {
	server       *mesh.Server
	registration *mesh.Registration
	cancel       context.CancelFunc
}

// Start runs the endpoint until Stop. When it returns, the endpoint is registered.
func Start(ctx context.Context, config Config, security mesh.Security) (*Component, error) {
	pool, err := addresses.New(config.File, config.IPv4, config.IPv6)
	if err != nil {
		return nil, fmt.Errorf("start VLAN endpoint %s: %w", config.Name, err)
	}
	if security.TokenGenerator == nil {
		security = mesh.Plain(mesh.DefaultTokenLifetime)
	}
	c := &Component{}
	var chains context.Context
	chains, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	server := chain.NewServer(chains, chain.Config{
		Name: config.Name, TokenGenerator: security.TokenGenerator, Base: config.Base, VLAN: config.VLAN, Pool: pool,
	})
	if c.server, err = mesh.Serve(security, []*url.URL{config.ListenOn}, server.Register); err == nil {
		err = c.register(ctx, config, security)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start VLAN endpoint %s: %w", config.Name, err), c.Stop())
	}
	return c, nil
}

func (c *Component) register(ctx context.Context, config Config, security mesh.Security) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	services := mesh.NewNSClient(ctx, config.ConnectTo, security)
	if _, err := services.Register(ctx, &registry.NetworkService{Name: config.Service, Payload: "ETHERNET"}); err != nil {
		return fmt.Errorf("register network service %s: %w", config.Service, err)
	}
	var options []mesh.RegistryOption
	if config.PassSocket {
		options = append(options, mesh.PassSocket())
	}
	var err error
	c.registration, err = mesh.Register(ctx, config.ConnectTo, security, &registry.NetworkServiceEndpoint{
		Name: config.Name, NetworkServiceNames: []string{config.Service}, Url: c.server.URLs()[0].String(),
	}, options...)
	return err
}

// Stop unregisters and ends the endpoint. The connections stay until they expire.
func (c *Component) Stop() error {
	var errs []error
	if c.registration != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		errs = append(errs, c.registration.Unregister(ctx))
	}
	c.cancel()
	if c.server != nil {
		errs = append(errs, c.server.Stop())
	}
	return errors.Join(errs...)
}
