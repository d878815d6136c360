// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/cli"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func (a *app) streamCommand() *cobra.Command {
	var admin bool
	cmd := noun("stream", "Join and leave streams of an attached network",
		`Join and leave streams of a network that a workload is attached to. Its interface,
MAC and addresses stay as they are.`,
		a.streamChange(&admin, "join", "Become a target of streams"),
		a.streamChange(&admin, "leave", "Stop being a target of streams"),
		a.streamShow(&admin))
	adminFlag(cmd, &admin)
	return cmd
}

func (a *app) streamChange(admin *bool, verb, short string) *cobra.Command {
	var name string
	var wait waiting
	cmd := &cobra.Command{
		Use:   verb + " STREAM...",
		Short: short,
		Long:  short + `. The attachment has to be named only if there are several.`,
		Example: fmt.Sprintf(`  weft stream %s api
  weft stream %s web api --attachment nsm-1-7f3a`, verb, verb),
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAgent(cmd.Context(), *admin, func(ctx context.Context, client agentv1.AgentClient) error {
				ctx, cancel := a.callFor(ctx, wait)
				defer cancel()
				target, err := chooseAttachment(ctx, client, name)
				if err != nil {
					return err
				}
				req := &agentv1.UpdateRequest{Name: target, Wait: !wait.none, WaitTimeout: durationpb.New(wait.timeout)}
				if verb == "join" {
					req.JoinStreams = args
				} else {
					req.LeaveStreams = args
				}
				resp, err := client.Update(ctx, req)
				if err != nil {
					return err
				}
				return a.printAttachments([]*agentv1.Attachment{resp.GetAttachment()}, true)
			})
		},
	}
	cmd.Flags().StringVar(&name, "attachment", "", "name of the attachment")
	// As for --output: a missing completion does not hurt.
	_ = cmd.RegisterFlagCompletionFunc("attachment", a.completeAttachments(admin))
	wait.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}

// chooseAttachment returns the name given, or that of the only attachment.
func chooseAttachment(ctx context.Context, client agentv1.AgentClient, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	resp, err := client.List(ctx, &agentv1.ListRequest{})
	if err != nil {
		return "", err
	}
	var names []string
	for _, at := range resp.GetAttachments() {
		names = append(names, at.GetSpec().GetName())
	}
	switch len(names) {
	case 0:
		return "", errors.New(`there is no attachment; make one with "weft attachment add"`)
	case 1:
		return names[0], nil
	}
	return "", cli.Usagef("there are %d attachments; choose one with --attachment: %s", len(names), strings.Join(names, ", "))
}

// joined is one stream of one attachment.
type joined struct {
	Stream     string                   `json:"stream"`
	Network    string                   `json:"network-service"`
	Attachment string                   `json:"attachment"`
	Ready      v1alpha1.ConditionStatus `json:"ready"`
	ready      cli.Cell
}

func (a *app) streamShow(admin *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [STREAM]",
		Short: "Show the streams that workloads have joined",
		Example: `  weft stream show
  weft stream show web --admin -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAgent(cmd.Context(), *admin, func(ctx context.Context, client agentv1.AgentClient) error {
				ctx, cancel := a.call(ctx)
				defer cancel()
				resp, err := client.List(ctx, &agentv1.ListRequest{})
				if err != nil {
					return err
				}
				return a.printStreams(resp.GetAttachments(), first(args))
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printStreams(attachments []*agentv1.Attachment, only string) error {
	list := []joined{}
	for _, at := range attachments {
		r := toResource(at)
		for _, stream := range r.Spec.Streams {
			if only != "" && stream != only {
				continue
			}
			j := joined{
				Stream: stream, Network: r.Spec.NetworkService, Attachment: r.Metadata.Name,
				Ready: v1alpha1.ConditionUnknown, ready: conditionCell(&r.Status.Status, v1alpha1.ConditionReady),
			}
			if c := r.Status.Condition(v1alpha1.ConditionReady); c != nil {
				j.Ready = c.Status
			}
			list = append(list, j)
		}
	}
	slices.SortStableFunc(list, func(x, y joined) int {
		return strings.Compare(x.Network+"/"+x.Stream, y.Network+"/"+y.Stream)
	})
	if !a.format.Human() {
		return a.format.Write(a.env.Stdout, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.env.Stderr, "no streams joined")
		return err
	}
	t := cli.Table{Header: []string{"NETWORK", "STREAM", "ATTACHMENT", "READY"}}
	for _, j := range list {
		t.Add(cli.Text(j.Network), cli.Text(j.Stream), cli.Text(j.Attachment), j.ready)
	}
	return t.Print(a.env.Stdout, a.env.Color())
}
