// SPDX-License-Identifier: Apache-2.0

package up

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/preflight"
)

// NewCommand returns `weft up`.
func NewCommand() *cobra.Command {
	var (
		given given
		level string
		check bool
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
			config, err := given.config()
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
			service.SaveMemory()
			return run(cmd, config)
		},
	}
	given.define(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&level, "log-level", "info", "trace, debug, info, warn or error")
	f.BoolVar(&check, "check", false, "check the configuration and exit")
	return cmd
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
