// SPDX-License-Identifier: Apache-2.0

package up

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/preflight"
)

// NewCommand returns `weft up`.
func NewCommand() *cobra.Command {
	var (
		file, level, tunnelIP string
		check                 bool
		flags                 Config
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run every component on this host in one process",
		Long: `up runs the registry, the network service manager, the forwarder, the agent,
the resource daemon and the load balancers of the configuration file in one
process, until it is interrupted. The network it has woven stays, and the next
weft up carries it on without losing a packet, unless on-stop is remove.`,
		Example: `  weft up                              # a host with workloads only
  weft up --config /etc/weft/up.yaml   # with load balancers
  weft up --config up.yaml --check     # say what is wrong with the file and exit

  # two hosts
  weft up --tunnel-ip 192.0.2.1 --nsmgr-listen tcp://192.0.2.1:5001 --registry-listen tcp://192.0.2.1:5000
  weft up --tunnel-ip 192.0.2.2 --nsmgr-listen tcp://192.0.2.2:5001 --registry tcp://192.0.2.1:5000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tunnelIP != "" {
				if err := flags.TunnelIP.UnmarshalText([]byte(tunnelIP)); err != nil {
					return cli.Usagef("--tunnel-ip: %w", err)
				}
			}
			config, err := merged(file, flags)
			if err != nil {
				return err
			}
			if check {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
				return err
			}
			if err := preflight.Check(); err != nil {
				return err
			}
			parsed, err := log.ParseLevel(level)
			if err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			config.Log = log.Setup(cmd.ErrOrStderr(), parsed)
			return run(cmd, config)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "YAML configuration file")
	f.StringVar(&flags.Node, "node", "", "name of this node (default: the host's name)")
	f.StringVar(&flags.RunDir, "run-dir", "", "directory of the sockets (default /run/weft)")
	f.StringVar(&flags.StateDir, "state-dir", "", "directory of what must survive a reboot (default /var/lib/weft)")
	f.StringVar(&flags.NetNS, "netns", "", "namespace of the node's ends of all interfaces (default: this one)")
	f.StringVar(&flags.MetricsAddress, "metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	f.StringVar(&flags.Registry, "registry", "", "URL of another host's registry, tcp://host:port (default: an own one)")
	f.StringVar(&flags.RegistryListen, "registry-listen", "", "URL to serve a registry to other hosts on, tcp://host:port")
	f.StringVar(&flags.NSMgrListen, "nsmgr-listen", "", "URL where other hosts reach this one, tcp://host:port")
	f.StringVar(&tunnelIP, "tunnel-ip", "", "address of this host for tunnels to others")
	f.StringVar(&flags.PinDir, "pin-dir", "", "directory in a BPF file system to pin the data path in, so that it outlives this process, or none (default: one in /sys/fs/bpf/weft)")
	f.StringVar(&flags.OnStop, "on-stop", "", "what becomes of the data path at the end: keep or remove (default: keep where it is pinned)")
	f.StringVar(&level, "log-level", "info", "trace, debug, info, warn or error")
	f.BoolVar(&check, "check", false, "check the configuration and exit")
	return cmd
}

// merged is the file with the flags over it.
func merged(file string, flags Config) (Config, error) {
	config := Config{}
	if file != "" {
		var err error
		if config, err = Load(file); err != nil {
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

func run(cmd *cobra.Command, config Config) error {
	config, err := config.withDefaults()
	if err != nil {
		return err
	}
	config.PinDir = config.pins()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stack, err := Start(ctx, config)
	if err != nil {
		return err
	}
	config.Log.Info("up", "agent", stack.WorkloadSocket(), "admin", stack.AdminSocket())
	<-ctx.Done()
	stop() // a second interrupt ends the process at once
	return errors.Join(stack.Stop(), config.removePins())
}
