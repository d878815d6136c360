// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	frontendv1 "github.com/weft-project/weft/pkg/api/frontend/v1"
)

func (a *app) frontendCommand() *cobra.Command {
	return noun("frontend", "See how traffic is attracted",
		`A frontend is the side of a load balancer that faces the gateways: its BGP and BFD
sessions, the routes that answers take, and which VIPs are announced, and why not.`, a.frontendShowCommand())
}

func (a *app) frontendShowCommand() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use:   "show [REPLICA]",
		Short: "Show gateways, sessions, routes and announcements",
		Long: `Show the gateways of one replica, or all, with the state of their sessions and how
long they have had it, the last error, the routes that were learned, and for each
VIP whether it is announced and why not. -o wide adds timers and counters.`,
		Example: `  weft frontend show
  weft frontend show lb-1 -o wide
  weft frontend show --watch -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &frontendv1.ShowRequest{}
			if len(args) == 1 {
				req.Replica = args[0]
			}
			if watch {
				return a.watchFrontends(cmd.Context(), req)
			}
			return a.withFrontend(cmd.Context(), func(ctx context.Context, client frontendv1.FrontendClient) error {
				ctx, cancel := a.call(ctx)
				defer cancel()
				resp, err := client.Show(ctx, req)
				if err != nil {
					return err
				}
				return a.printFrontends(resp, false)
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again with every change, until interrupted")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) withFrontend(ctx context.Context, fn func(context.Context, frontendv1.FrontendClient) error) error {
	return a.withConn(ctx, AdminSocket, func(ctx context.Context, conn *grpc.ClientConn) error {
		return fn(ctx, frontendv1.NewFrontendClient(conn))
	})
}

func (a *app) watchFrontends(ctx context.Context, req *frontendv1.ShowRequest) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	return a.withFrontend(ctx, func(ctx context.Context, client frontendv1.FrontendClient) error {
		stream, err := client.Watch(ctx, req)
		if err != nil {
			return err
		}
		for {
			resp, err := stream.Recv()
			if done, err := watchEnd(ctx, err); done {
				return err
			}
			if err := a.printFrontends(resp, true); err != nil {
				return err
			}
		}
	})
}

func (a *app) printFrontends(resp *frontendv1.ShowResponse, event bool) error {
	if a.format.Human() {
		if event {
			if _, err := fmt.Fprintf(a.env.Stdout, "%s\n", resp.GetTime().AsTime().Local().Format("15:04:05.000")); err != nil {
				return err
			}
		}
		return a.printFrontendTables(resp)
	}
	// The message's own names and times; an object of Go's to print in any format.
	text, err := protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(resp)
	if err != nil {
		return err
	}
	var view any
	if err := json.Unmarshal(text, &view); err != nil {
		return err
	}
	if event {
		return a.format.WriteEvent(a.env.Stdout, view)
	}
	return a.format.Write(a.env.Stdout, view)
}
