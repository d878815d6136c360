// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/traffic"
)

const (
	processCommand  = "cluster-process"
	workloadCommand = "cluster-workload"
)

// NewCommands returns the hidden commands that the processes of a cluster are.
// The binary that a cluster runs must have them.
func NewCommands() []*cobra.Command {
	return []*cobra.Command{newProcessCommand(), newWorkloadCommand()}
}

// components are the commands that have binaries of their own.
var components = map[string]func(context.Context, []string, config.Lookup, io.Writer) int{
	"weft-forwarder": forwarder.Run, "weft-agent": agent.Run, "weft-endpoint": endpoint.Run,
}

// newProcessCommand runs another command, and ends at once with its standard
// input: nothing remains when the cluster's owner is killed.
func newProcessCommand() *cobra.Command {
	return &cobra.Command{
		Use:    processCommand + " -- COMMAND [ARGUMENT...]",
		Short:  "Run a command until the standard input ends (used by weft demo and the tests)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				os.Exit(1)
			}()
			run, ok := components[args[0]]
			if !ok { // a command of this binary
				root := cmd.Root()
				root.SetArgs(args)
				return root.ExecuteContext(cmd.Context())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if status := run(ctx, args[1:], os.LookupEnv, cmd.ErrOrStderr()); status != 0 {
				return fmt.Errorf("%s ended with status %d", args[0], status)
			}
			return nil
		},
	}
}

// newWorkloadCommand is an ordinary server.
func newWorkloadCommand() *cobra.Command {
	var relayAt, relayTo string
	cmd := &cobra.Command{
		Use:    workloadCommand + " NAME PORT...",
		Short:  "Serve TCP and UDP until the standard input ends (used by weft demo and the tests)",
		Hidden: true,
		Args:   cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var ports []uint16
			for _, arg := range args[1:] {
				port, err := strconv.ParseUint(arg, 10, 16)
				if err != nil {
					return fmt.Errorf("port %q: %w", arg, err)
				}
				ports = append(ports, uint16(port))
			}
			server, err := traffic.Serve(args[0], ports...)
			if err != nil {
				return err
			}
			defer server.Close()
			if relayAt != "" {
				_ = os.Remove(relayAt) // of one that was killed
				listener, err := net.Listen("unix", relayAt)
				if err != nil {
					return err
				}
				defer func() { _ = listener.Close() }()
				go relay(listener, relayTo)
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), ready); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, cmd.InOrStdin())
			return err
		},
	}
	cmd.Flags().StringVar(&relayAt, "relay", "", "socket that leads to the agent, as if the caller were this process")
	cmd.Flags().StringVar(&relayTo, "relay-to", "", "the agent's socket")
	return cmd
}
