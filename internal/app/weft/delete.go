// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func (a *app) deleteCommand() *cobra.Command {
	var files []string
	var namespace string
	var dryRun, ignoreNotFound bool
	cmd := &cobra.Command{
		Use:   "delete (-f FILE|DIRECTORY|- | KIND NAME...)",
		Short: "Delete resources",
		Long: `Delete resources, by name or all those of manifests. What other resources still
need is not deleted: all of it goes, or nothing does.`,
		Example: `  weft delete flow web -n trench-a
  weft delete -f network.yaml
  weft delete -f network.yaml --dry-run`,
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := a.keysToDelete(files, namespace, args)
			if err != nil {
				return err
			}
			return a.deleteKeys(cmd.Context(), &daemonv1.DeleteRequest{
				Objects: keys, DryRun: dryRun, IgnoreNotFound: ignoreNotFound,
			})
		},
	}
	filesFlag(cmd, &files)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", v1alpha1.DefaultNamespace, "namespace of the resources named")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be deleted, and change nothing")
	cmd.Flags().BoolVar(&ignoreNotFound, "ignore-not-found", false, "skip resources that do not exist")
	return cmd
}

func (a *app) keysToDelete(paths []string, namespace string, args []string) ([]*daemonv1.Key, error) {
	if (len(paths) == 0) == (len(args) == 0) {
		return nil, cli.Usagef("name either manifests with -f, or a kind and names")
	}
	var keys []*daemonv1.Key
	if len(args) > 0 {
		kind, err := parseKind(args[0])
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			return nil, cli.Usagef("name at least one %s to delete", strings.ToLower(kind))
		}
		for _, name := range args[1:] {
			keys = append(keys, &daemonv1.Key{Kind: kind, Namespace: namespace, Name: name})
		}
		return keys, nil
	}
	files, err := a.readManifests(paths)
	if err != nil {
		return nil, err
	}
	docs, problems := resource.Decode(files)
	if errs := problems.Errors(); len(errs) > 0 {
		return nil, errs
	}
	for _, d := range docs {
		k := d.Key()
		keys = append(keys, &daemonv1.Key{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name})
	}
	return keys, nil
}

func (a *app) deleteKeys(ctx context.Context, req *daemonv1.DeleteRequest) error {
	return a.withDaemon(ctx, func(ctx context.Context, client daemonv1.DaemonClient) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		resp, err := client.Delete(ctx, req)
		if err != nil {
			return err
		}
		return a.printChanges(resp.GetChanges(), req.GetDryRun())
	})
}

// parseKind finds a kind as a user types it.
func parseKind(s string) (string, error) {
	info, ok := v1alpha1.ParseKind(s)
	if isAttachment(s) {
		return "", cli.Usagef(`attachments belong to the agent; use "weft attachment"`)
	}
	if !ok {
		return "", cli.Usagef("there is no kind %q; the kinds are %s", s, strings.Join(kindNames(), ", "))
	}
	return info.Kind, nil
}

func kindNames() []string {
	var names []string
	for _, k := range v1alpha1.Kinds() {
		names = append(names, strings.ToLower(k.Kind))
	}
	return names
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return kindNames(), cobra.ShellCompDirectiveNoFileComp
}
