// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"fmt"
	"net/url"

	"github.com/weft-project/weft/internal/app/mesh"
)

// validateNodes returns the problems of what a host has to do with others.
func (c Config) validateNodes() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for field, text := range map[string]string{
		"registry": c.Registry, "registry-listen": c.RegistryListen, "nsmgr-listen": c.NSMgrListen,
	} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || u.Path != "" {
			bad("%s: %q is not tcp://host:port", field, text)
		}
	}
	shared := c.Registry != "" || c.RegistryListen != ""
	switch {
	case c.Registry != "" && c.RegistryListen != "":
		bad("registry-listen: a host with registry %s serves none itself", c.Registry)
	case shared && c.NSMgrListen == "":
		bad("nsmgr-listen: missing, other nodes have to reach this one")
	case !shared && c.NSMgrListen != "":
		bad("nsmgr-listen: is for other nodes, which need a registry or registry-listen")
	}
	if ip := c.TunnelIP; ip.IsValid() && (ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback()) {
		bad("tunnel-ip: %s is no address of a host", ip)
	}
	return problems
}

// startMesh starts the nsmgr, and the registry where this host serves one.
// Components outlive the context of Start: Stop ends them in order.
func (s *Stack) startMesh(ctx context.Context) (err error) {
	ctx = context.WithoutCancel(ctx)
	config := mesh.Config{ListenOn: []*url.URL{s.socket("nsmgr")}, Security: s.security}
	shared := s.config.Registry
	if s.config.RegistryListen != "" {
		local := s.socket("registry")
		shared = local.String()
		registry, err := mesh.StartRegistry(ctx, mesh.RegistryConfig{
			ListenOn: []*url.URL{local, mustParse(s.config.RegistryListen)}, Security: s.security,
		})
		if err != nil {
			return err
		}
		s.onStop(registry.Stop)
	}
	if shared != "" {
		config.Name = "nsmgr-" + s.config.Node
		config.Registry = mustParse(shared)
		config.ListenOn = append(config.ListenOn, mustParse(s.config.NSMgrListen))
	}
	if s.mesh, err = mesh.Start(ctx, config); err != nil {
		return err
	}
	s.onStop(s.mesh.Stop)
	return nil
}

// mustParse parses what Validate has parsed before.
func mustParse(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}
