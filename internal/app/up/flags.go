// SPDX-License-Identifier: Apache-2.0

package up

import (
	"github.com/spf13/pflag"

	"github.com/weft-project/weft/internal/cli"
)

// given is the configuration as a command line gives it.
type given struct {
	file, tunnelIP string
	flags          Config
}

func (g *given) define(f *pflag.FlagSet) {
	f.StringVar(&g.file, "config", "", "YAML configuration file")
	f.StringVar(&g.flags.Node, "node", "", "name of this node (default: the host's name)")
	f.StringVar(&g.flags.RunDir, "run-dir", "", "directory of the sockets (default /run/weft)")
	f.StringVar(&g.flags.StateDir, "state-dir", "", "directory of what must survive a reboot (default /var/lib/weft)")
	f.StringVar(&g.flags.NetNS, "netns", "", "namespace of the node's ends of all interfaces (default: this one)")
	f.StringVar(&g.flags.MetricsAddress, "metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	f.StringVar(&g.flags.Registry, "registry", "", "URL of another host's registry, tcp://host:port (default: an own one)")
	f.StringVar(&g.flags.RegistryListen, "registry-listen", "", "URL to serve a registry to other hosts on, tcp://host:port")
	f.StringVar(&g.flags.NSMgrListen, "nsmgr-listen", "", "URL where other hosts reach this one, tcp://host:port")
	f.StringVar(&g.tunnelIP, "tunnel-ip", "", "address of this host for tunnels to others")
	f.StringVar(&g.flags.PinDir, "pin-dir", "", "directory in a BPF file system to pin the data path in, so that it outlives this process, or none (default: one in /sys/fs/bpf/weft)")
	f.StringVar(&g.flags.OnStop, "on-stop", "", "what becomes of the data path at the end: keep or remove (default: keep where it is pinned)")
}

// config is the file with the flags over it.
func (g *given) config() (Config, error) {
	flags := g.flags
	if g.tunnelIP != "" {
		if err := flags.TunnelIP.UnmarshalText([]byte(g.tunnelIP)); err != nil {
			return Config{}, cli.Usagef("--tunnel-ip: %w", err)
		}
	}
	config := Config{}
	if g.file != "" {
		var err error
		if config, err = Load(g.file); err != nil {
			return config, err
		}
	}
	for _, pair := range []struct{ to, from *string }{
		{&config.Node, &flags.Node}, {&config.RunDir, &flags.RunDir}, {&config.StateDir, &flags.StateDir},
		{&config.NetNS, &flags.NetNS}, {&config.MetricsAddress, &flags.MetricsAddress},
		{&config.Registry, &flags.Registry}, {&config.RegistryListen, &flags.RegistryListen},
		{&config.NSMgrListen, &flags.NSMgrListen}, {&config.PinDir, &flags.PinDir}, {&config.OnStop, &flags.OnStop},
	} {
		if *pair.from != "" {
			*pair.to = *pair.from
		}
	}
	if flags.TunnelIP.IsValid() {
		config.TunnelIP = flags.TunnelIP
	}
	return config, config.Validate()
}
