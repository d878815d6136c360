// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/inspect"
	balancerv1 "github.com/weft-project/weft/pkg/api/balancer/v1"
)

// withBalancer calls fn with a client of the service that shows what load
// balancers do.
func (a *app) withBalancer(ctx context.Context, fn func(context.Context, balancerv1.BalancerClient) error) error {
	return a.withConn(ctx, AdminSocket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return fn(ctx, balancerv1.NewBalancerClient(conn))
	})
}

// chooseReplica returns the one replica with that name, or else with that
// external interface; an empty one matches all.
func chooseReplica(ctx context.Context, client balancerv1.BalancerClient, name, iface string) (*balancerv1.Replica, error) {
	resp, err := client.List(ctx, &balancerv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(resp.GetReplicas(), func(r *balancerv1.Replica) bool {
		return name != "" && r.GetName() != name || iface != "" && r.GetInterface() != iface
	})
	var wanted []string
	if name != "" {
		wanted = append(wanted, fmt.Sprintf("name %q", name))
	}
	if iface != "" {
		wanted = append(wanted, fmt.Sprintf("external interface %q", iface))
	}
	switch {
	case len(list) == 1:
		return list[0], nil
	case len(list) > 1:
		var names []string
		for _, r := range list {
			names = append(names, describeReplica(r))
		}
		return nil, cli.Usagef("there are %d load balancers; choose one with --replica: %s", len(list), strings.Join(names, ", "))
	case len(wanted) > 0:
		return nil, fmt.Errorf("no load balancer with %s is served here", strings.Join(wanted, " and "))
	}
	return nil, errors.New("no load balancer is served here")
}

func describeReplica(r *balancerv1.Replica) string {
	return fmt.Sprintf("%s (%s.%s on %s)", r.GetName(), r.GetConduit(), r.GetTrench(), r.GetInterface())
}

// replicaFlag adds --replica with its completion.
func (a *app) replicaFlag(cmd *cobra.Command, name *string, usage string) {
	cmd.Flags().StringVar(name, "replica", "", usage)
	complete := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		err := a.withBalancer(cmd.Context(), func(ctx context.Context, client balancerv1.BalancerClient) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			resp, err := client.List(ctx, &balancerv1.ListRequest{})
			for _, r := range resp.GetReplicas() {
				names = append(names, r.GetName())
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	// As for --output: a missing completion does not hurt.
	_ = cmd.RegisterFlagCompletionFunc("replica", complete)
}

// reasonNames are the values that --reason takes.
func reasonNames() []string {
	names := []string{inspect.DropReasons}
	for _, r := range inspect.Reasons() {
		names = append(names, r.Name)
	}
	return names
}

// interruptible is a context that an interrupt ends, too, so that the command
// can say its last words. A second interrupt ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
