// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/cli"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

func (a *app) attachmentUpdate(admin *bool) *cobra.Command {
	req := &agentv1.UpdateRequest{}
	cmd := a.attachmentChange(admin, req)
	cmd.Use = "update NAME"
	cmd.Short = "Change labels of an attachment, such as its weight"
	cmd.Long = `Change labels of an attachment. Its interface, MAC and addresses stay as they are.
The weight scales its share of new flows, 0 to 1000, default 1; a change of it is
in force at once. Other labels reach the connections made from then on.
Streams are changed by "weft stream join" and "weft stream leave".`
	cmd.Example = `  weft attachment update nsm-1-7f3a --label weight=3
  weft attachment update nsm-1-7f3a --remove-label weight --label app=web`
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if len(req.GetSetLabels()) == 0 && len(req.GetUnsetLabels()) == 0 {
			return cli.Usagef("nothing to change; use --label or --remove-label")
		}
		for _, key := range req.GetUnsetLabels() {
			if _, ok := req.GetSetLabels()[key]; ok {
				return cli.Usagef("label %q is both set and removed", key)
			}
		}
		return nil
	}
	cmd.Flags().StringToStringVar(&req.SetLabels, "label", nil, "label to add or replace, key=value; can be repeated")
	cmd.Flags().StringSliceVar(&req.UnsetLabels, "remove-label", nil, "label to remove; can be repeated")
	return cmd
}

func (a *app) attachmentDrain(admin *bool) *cobra.Command {
	cmd := a.attachmentChange(admin, &agentv1.UpdateRequest{SetLabels: map[string]string{"drain": "true"}})
	cmd.Use = "drain NAME"
	cmd.Short = "Send no new flows to a workload"
	cmd.Long = `Send no new flows to a workload. It stays attached and reachable for the flows that
balancers with an affinity table have sent to it; without one every flow goes to
another target. It counts towards the max-targets of its streams.`
	cmd.Example = `  weft attachment drain nsm-1-7f3a
  weft attachment drain --admin nsm-1-7f3a --no-wait`
	return cmd
}

func (a *app) attachmentUndrain(admin *bool) *cobra.Command {
	cmd := a.attachmentChange(admin, &agentv1.UpdateRequest{UnsetLabels: []string{"drain"}})
	cmd.Use = "undrain NAME"
	cmd.Short = "Send new flows to a workload again"
	cmd.Example = `  weft attachment undrain nsm-1-7f3a`
	return cmd
}

// attachmentChange returns a command that makes a request of the attachment
// that its argument names.
func (a *app) attachmentChange(admin *bool, req *agentv1.UpdateRequest) *cobra.Command {
	var wait waiting
	cmd := &cobra.Command{
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAttachments(admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name, req.Wait, req.WaitTimeout = args[0], !wait.none, durationpb.New(wait.timeout)
			return a.withAgent(cmd.Context(), *admin, func(ctx context.Context, client agentv1.AgentClient) error {
				ctx, cancel := a.callFor(ctx, wait)
				defer cancel()
				resp, err := client.Update(ctx, req)
				if err != nil {
					return err
				}
				return a.printAttachments([]*agentv1.Attachment{resp.GetAttachment()}, true)
			})
		},
	}
	wait.flags(cmd)
	a.outputFlag(cmd)
	return cmd
}
