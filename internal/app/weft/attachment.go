// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/cli"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// waiting are the flags of commands that can wait for the data path.
type waiting struct {
	none    bool
	timeout time.Duration
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.none, "no-wait", false, "return as soon as the wish is stored")
	cmd.Flags().DurationVar(&w.timeout, "wait-timeout", 15*time.Second, "how long to wait until it is ready; then nothing is changed")
}

func (a *app) attachmentCommand() *cobra.Command {
	var admin bool
	cmd := noun("attachment", "Attach workloads to networks",
		`Attach workloads to networks. Without --admin or --netns the workload is the
one that the command runs in: the agent knows it by its network namespace.`,
		a.attachmentAdd(&admin), a.attachmentUpdate(&admin), a.attachmentDrain(&admin), a.attachmentUndrain(&admin), a.attachmentDelete(&admin), a.attachmentShow(&admin), a.attachmentWatch(&admin))
	adminFlag(cmd, &admin)
	return cmd
}

func adminFlag(cmd *cobra.Command, admin *bool) {
	cmd.PersistentFlags().BoolVar(admin, "admin", false, "use the administrator's socket: the attachments of all workloads")
}

func (a *app) attachmentAdd(admin *bool) *cobra.Command {
	spec := &agentv1.AttachmentSpec{}
	var wait waiting
	cmd := &cobra.Command{
		Use:   "add NETWORK",
		Short: "Attach a workload to a network",
		Long: `Attach a workload to a network, <conduit>.<trench>. It gets one interface with
addresses, the VIPs of the streams it joins, and routes for the replies.`,
		Example: `  weft attachment add lb.trench-a --stream web
  weft attachment add lb.trench-a --stream web --stream api --interface nsm-1
  weft attachment add lb.trench-a --stream web --label weight=3
  weft attachment add lb.trench-b --stream web --netns w4     # as administrator
  weft attachment add lb.trench-b --netns /proc/4711/ns/net`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.NetworkService = args[0]
			spec.Netns = namespacePath(spec.GetNetns())
			return a.attach(cmd.Context(), *admin || spec.GetNetns() != "", spec, wait)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&spec.Name, "name", "", "name of the attachment (default <interface>-<id of the namespace>)")
	flags.StringVar(&spec.Interface, "interface", "", "name of the interface in the workload (default the first free of nsm-1, nsm-2, ...)")
	flags.StringSliceVar(&spec.Streams, "stream", nil, "stream to join; can be repeated")
	flags.StringSliceVar(&spec.Addresses, "address", nil, "wanted address of the interface, such as 10.0.0.5/32; can be repeated")
	flags.StringToStringVar(&spec.Labels, "label", nil, "NSM label of the connections, key=value, such as weight=3; can be repeated")
	flags.StringVar(&spec.Netns, "netns", "", "name or path of the workload's network namespace (administrators)")
	wait.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}

// namespacePath returns the path of a namespace: a bare name is one that
// "ip netns" made.
func namespacePath(s string) string {
	if s == "" || strings.Contains(s, "/") {
		return s
	}
	return filepath.Join("/run/netns", s)
}

func (a *app) attach(ctx context.Context, admin bool, spec *agentv1.AttachmentSpec, wait waiting) error {
	return a.withAgent(ctx, admin, func(ctx context.Context, client agentv1.AgentClient) error {
		ctx, cancel := a.callFor(ctx, wait)
		defer cancel()
		resp, err := client.Attach(ctx, &agentv1.AttachRequest{
			Spec: spec, Wait: !wait.none, WaitTimeout: durationpb.New(wait.timeout),
		})
		if err != nil {
			return err
		}
		return a.printAttachments([]*agentv1.Attachment{resp.GetAttachment()}, true)
	})
}

// callFor bounds a call that waits: --timeout comes on top of the waiting.
func (a *app) callFor(ctx context.Context, wait waiting) (context.Context, context.CancelFunc) {
	if wait.none {
		return a.call(ctx)
	}
	return context.WithTimeout(ctx, a.timeout+wait.timeout)
}

func (a *app) attachmentDelete(admin *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Detach: remove the interface",
		Example: `  weft attachment delete nsm-1-7f3a
  weft attachment delete --admin nsm-1-7f3a nsm-2-7f3a`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeAttachments(admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAgent(cmd.Context(), *admin, func(ctx context.Context, client agentv1.AgentClient) error {
				for _, name := range args {
					if err := a.detach(ctx, client, name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	return cmd
}

func (a *app) detach(ctx context.Context, client agentv1.AgentClient, name string) error {
	ctx, cancel := a.call(ctx)
	defer cancel()
	if _, err := client.Detach(ctx, &agentv1.DetachRequest{Name: name}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.env.Stdout, "attachment %s deleted\n", name)
	return err
}

// selection are the flags that select attachments.
type selection struct{ service, netns string }

func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.service, "network", "", "only those of this network")
	cmd.Flags().StringVar(&s.netns, "netns", "", "only those of this network namespace (administrators)")
}

func (a *app) attachmentShow(admin *bool) *cobra.Command {
	var sel selection
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show attachments",
		Example: `  weft attachment show
  weft attachment show nsm-1-7f3a -o yaml
  weft attachment show --admin -o wide`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeAttachments(admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &agentv1.ListRequest{Name: first(args), NetworkService: sel.service, Netns: namespacePath(sel.netns)}
			return a.showAttachments(cmd.Context(), *admin || sel.netns != "", req)
		},
	}
	sel.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showAttachments(ctx context.Context, admin bool, req *agentv1.ListRequest) error {
	return a.withAgent(ctx, admin, func(ctx context.Context, client agentv1.AgentClient) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		resp, err := client.List(ctx, req)
		if err != nil {
			return err
		}
		if req.GetName() != "" && len(resp.GetAttachments()) == 0 {
			return fmt.Errorf("there is no attachment %q", req.GetName())
		}
		return a.printAttachments(resp.GetAttachments(), req.GetName() != "")
	})
}

// isAttachment reports whether a user means attachments where a kind of
// resource stands.
func isAttachment(kind string) bool {
	return strings.EqualFold(kind, "attachment") || strings.EqualFold(kind, "attachments")
}

// getAttachments is "weft get attachments": those of all workloads.
func (a *app) getAttachments(ctx context.Context, names []string, watch bool) error {
	if len(names) > 1 {
		return cli.Usagef("name one attachment at most")
	}
	if !watch {
		return a.showAttachments(ctx, true, &agentv1.ListRequest{Name: first(names)})
	}
	return a.withAgent(ctx, true, func(ctx context.Context, client agentv1.AgentClient) error {
		return a.watchAttachments(ctx, client, &agentv1.WatchRequest{Name: first(names)})
	})
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) attachmentWatch(admin *bool) *cobra.Command {
	var sel selection
	cmd := &cobra.Command{
		Use:   "watch [NAME]",
		Short: "Show attachments and every change of them",
		Example: `  weft attachment watch
  weft attachment watch --admin --network lb.trench-a
  weft attachment watch nsm-1-7f3a -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeAttachments(admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &agentv1.WatchRequest{Name: first(args), NetworkService: sel.service, Netns: namespacePath(sel.netns)}
			return a.withAgent(cmd.Context(), *admin || sel.netns != "", func(ctx context.Context, client agentv1.AgentClient) error {
				return a.watchAttachments(ctx, client, req)
			})
		},
	}
	sel.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) watchAttachments(ctx context.Context, client agentv1.AgentClient, req *agentv1.WatchRequest) error {
	stream, err := client.Watch(ctx, req)
	if err != nil {
		return err
	}
	for {
		resp, err := stream.Recv()
		if done, err := watchEnd(ctx, err); done {
			return err
		}
		for _, at := range resp.GetAttachments() {
			if err := a.printAttachmentEvent(resp.GetKind(), at); err != nil {
				return err
			}
		}
	}
}

// completeAttachments offers the names of attachments to the shell. Without an
// agent there are none to offer.
func (a *app) completeAttachments(admin *bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		err := a.withAgent(cmd.Context(), *admin, func(ctx context.Context, client agentv1.AgentClient) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			resp, err := client.List(ctx, &agentv1.ListRequest{})
			for _, at := range resp.GetAttachments() {
				if name := at.GetSpec().GetName(); !slices.Contains(args, name) {
					names = append(names, name)
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
