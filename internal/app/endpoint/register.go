// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/pkg/networkservice/nselabel"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// registryTimeout bounds one registration; the nsmgr may be starting, too.
const registryTimeout = 15 * time.Second

// restartGrace is how long an endpoint whose data path is pinned counts as alive
// without a process: as long as its registration would last.
const restartGrace = time.Minute

// register makes the endpoint known. The clients keep the registration alive,
// also over a restart of the nsmgr, until they are released.
func (c *Component) register(ctx context.Context, security mesh.Security) error {
	clients, cancel := context.WithCancel(context.Background())
	c.onStop(func() error { cancel(); return nil })
	ctx, done := context.WithTimeout(ctx, registryTimeout)
	defer done()
	if !c.config.KeepService {
		services := mesh.NewNSClient(clients, c.config.ConnectTo, security)
		for _, name := range c.config.ServiceNames {
			service := &registry.NetworkService{Name: name, Payload: c.config.Payload}
			if _, err := services.Register(ctx, service); err != nil {
				return fmt.Errorf("register network service %s: %w", name, err)
			}
		}
	}
	labels := map[string]*registry.NetworkServiceLabels{}
	for _, name := range c.config.ServiceNames {
		labels[name] = &registry.NetworkServiceLabels{Labels: c.labels()}
	}
	var options []mesh.RegistryOption
	if c.config.PassSocket {
		options = append(options, mesh.PassSocket())
	}
	c.endpoints = mesh.NewNSEClient(clients, c.config.ConnectTo, security, options...)
	c.wanted = &registry.NetworkServiceEndpoint{
		Name:                 c.config.Name,
		NetworkServiceNames:  c.config.ServiceNames,
		NetworkServiceLabels: labels,
		Url:                  c.URL().String(),
	}
	return c.enroll(ctx)
}

func (c *Component) enroll(ctx context.Context) (err error) {
	if c.registered, err = c.endpoints.Register(ctx, c.wanted.Clone()); err != nil {
		return fmt.Errorf("register endpoint: %w", err)
	}
	return nil
}

// labels returns what is configured, and what tells other components about the
// way to the endpoint.
func (c *Component) labels() map[string]string {
	all := tunnelmech.Labels(c.config.Mechanism, c.config.MechanismPolicy)
	maps.Copy(all, c.config.Labels)
	if c.config.PinDir != "" {
		all[nselabel.GraceLabel] = restartGrace.String()
	}
	return all
}

// unregister makes the endpoint unknown. The network service stays: other
// endpoints may serve it.
func (c *Component) unregister(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, registryTimeout)
	defer done()
	if _, err := c.endpoints.Unregister(ctx, c.registered); err != nil {
		return fmt.Errorf("unregister endpoint %s: %w", c.config.Name, err)
	}
	return nil
}
