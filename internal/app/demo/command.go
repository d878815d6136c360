// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/log"
)

// NewCommand returns `weft demo`.
func NewCommand() *cobra.Command {
	var (
		cfg   Config
		level string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See networks woven into running processes, with everything measured",
		Long: `demo starts four ordinary servers in network namespaces of their own, weaves
load-balanced networks into them while they run, changes everything under
traffic, and prints what was lost and how long it took. It needs root and a
kernel from 6.6, touches only namespaces and interfaces that it makes itself,
and removes them all.

With several nodes, namespaces are nodes with a registry, nsmgrs, forwarders and
agents of their own; the processes of all of them are killed and started again
under traffic, and a node dies.`,
		Example: `  weft demo
  weft demo --nodes 3 # the same over VXLAN tunnels, then kill what does it
  weft demo --pause   # wait for Enter between the steps
  weft demo --keep    # stay up at the end, to look around`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := log.ParseLevel(level)
			if err != nil {
				return err
			}
			log.Setup(cmd.ErrOrStderr(), parsed)
			cfg.Out, cfg.In = cmd.OutOrStdout(), cmd.InOrStdin()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err = Run(ctx, cfg)
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted; everything is removed")
			}
			return err
		},
	}
	cmd.Flags().IntVar(&cfg.Nodes, "nodes", 1, "spread it over so many nodes, 3 to 9")
	cmd.Flags().BoolVar(&cfg.Keep, "keep", false, "stay up at the end until interrupted")
	cmd.Flags().BoolVar(&cfg.Pause, "pause", false, "wait for Enter between the steps")
	cmd.Flags().StringVar(&level, "log-level", "error", "trace, debug, info, warn or error")
	return cmd
}
