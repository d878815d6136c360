// SPDX-License-Identifier: Apache-2.0

package up

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/wireguard"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
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
	if _, err := tunnelmech.ParsePolicy(c.Mechanism, c.MechanismPolicy); err != nil {
		bad("mechanism: %w", err)
	}
	if c.LivenessInterval < 0 || c.LivenessMultiplier < 0 {
		bad("liveness-interval or liveness-multiplier: negative")
	}
	switch c.WireGuard {
	case "", forwarder.WireGuardOff, wireguard.Auto, wireguard.Kernel, wireguard.Userspace:
	default:
		bad("wireguard: %q is neither kernel, userspace, auto nor off", c.WireGuard)
	}
	// Whether there are pins is known when it starts.
	if _, err := forwarder.KeepOnStop(c.OnStop, c.PinDir != noPins); err != nil {
		bad("on-stop: %w", err)
	}
	return problems
}

// keepsOnStop says whether the data path outlives the process.
func (c Config) keepsOnStop() (bool, error) {
	return forwarder.KeepOnStop(c.OnStop, c.PinDir != "" && c.PinDir != noPins)
}

// startForwarder starts the data path of the host.
func (s *Stack) startForwarder(ctx context.Context) error {
	policy, err := tunnelmech.ParsePolicy(s.config.Mechanism, s.config.MechanismPolicy)
	if err != nil {
		return err
	}
	config := s.config.forwarder(policy)
	config.ConnectTo, config.ListenOn, config.KeepOnStop = s.mesh.URL(), s.socket("forwarder"), s.keep
	f, err := forwarder.Start(context.WithoutCancel(ctx), config, forwarder.Deps{
		Security: s.security, Log: s.config.Log, Metrics: s.metrics,
	})
	if err != nil {
		return err
	}
	s.onStop(f.Stop)
	s.forwarder = f
	return nil
}

// forwarder is the configuration of the data path.
func (c Config) forwarder(policy tunnelmech.Policy) forwarder.Config {
	config := forwarder.Config{
		Name:  "forwarder-" + c.Node,
		NetNS: c.NetNS,

		TunnelIP: c.TunnelIP, Policy: policy,
		LivenessInterval: c.LivenessInterval, LivenessMultiplier: c.LivenessMultiplier,
		WireGuard: c.WireGuard, WireGuardDir: filepath.Join(c.RunDir, wireGuardDir),
		WireGuardPort: c.WireGuardPort, KeyRotation: c.KeyRotation,
	}
	if c.PinDir != "" && c.PinDir != noPins {
		config.PinDir = filepath.Join(c.PinDir, forwarderPins)
	}
	return config
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
