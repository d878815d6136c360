// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/resource"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

func (a *app) applyCommand() *cobra.Command {
	var files []string
	var dryRun, prune bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIRECTORY|-",
		Short: "Create or change resources from manifests",
		Long: `Create or change resources from manifests of weft.dev/v1alpha1, or of Meridio
(meridio.nordix.org/v1 and v1alpha1).

All manifests are accepted together, or nothing changes and every problem is
listed with its file and line. What does not change is not touched.`,
		Example: `  weft apply -f network.yaml
  weft apply -f manifests/ --dry-run
  weft apply -f manifests/ --prune
  weft get all -o yaml | ssh other-host weft apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.apply(cmd.Context(), files, dryRun, prune)
		},
	}
	filesFlag(cmd, &files)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete the resources that the manifests do not have")
	_ = cmd.MarkFlagRequired("filename") // fails only for a flag that is not there
	return cmd
}

func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file, directory or - for standard input; can be repeated")
}

func (a *app) apply(ctx context.Context, paths []string, dryRun, prune bool) error {
	files, err := a.readManifests(paths)
	if err != nil {
		return err
	}
	req := &daemonv1.ApplyRequest{DryRun: dryRun, Prune: prune}
	for _, f := range files {
		req.Manifests = append(req.Manifests, &daemonv1.Manifest{Name: f.Name, Yaml: f.Data})
	}
	return a.withDaemon(ctx, func(ctx context.Context, client daemonv1.DaemonClient) error {
		ctx, cancel := a.call(ctx)
		defer cancel()
		resp, err := client.Apply(ctx, req)
		if err != nil {
			return err
		}
		if err := cli.PrintWarnings(a.env.Stderr, cli.Problems(resp.GetWarnings(), true)); err != nil {
			return err
		}
		return a.printChanges(resp.GetChanges(), dryRun)
	})
}

// printChanges says what happened, one object per line.
func (a *app) printChanges(changes []*daemonv1.Change, dryRun bool) error {
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	}
	for _, c := range changes {
		o := c.GetObject()
		key := resource.Key{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
		if _, err := fmt.Fprintf(a.env.Stdout, "%s %s%s\n", key, strings.ToLower(c.GetAction().String()), suffix); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) checkCommand() *cobra.Command {
	var files []string
	var repair bool
	cmd := &cobra.Command{
		Use:   "check [--repair] | check -f FILE|DIRECTORY|-",
		Short: "Check this node, or manifests without a daemon",
		Long: `Without -f, compare what is wanted, what is recorded and what is on this node, and
list every difference: attachments and their interfaces, addresses and rules in the
workloads' namespaces, and what the other components that run here keep. --repair
mends what can be mended. The exit code is 1 when differences remain, notes
excepted.

With -f, check manifests as "weft apply" would on an empty host, and say everything
that is wrong. Nothing is contacted and nothing is changed. To check against what a
daemon has already, use "weft apply --dry-run".`,
		Example: `  weft check
  weft check --repair
  weft check -o json
  weft check -f network.yaml
  weft check -f manifests/`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(files) == 0:
				return a.checkNode(cmd.Context(), repair)
			case repair:
				return cli.Usagef("--repair is for the node, not for manifests")
			}
			return a.check(files)
		},
	}
	filesFlag(cmd, &files)
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what differs on the node")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) check(paths []string) error {
	files, err := a.readManifests(paths)
	if err != nil {
		return err
	}
	store, err := resource.Open("")
	if err != nil {
		return err
	}
	result, err := store.Apply(files, resource.ApplyOptions{DryRun: true})
	if err != nil {
		return err
	}
	if err := cli.PrintWarnings(a.env.Stderr, result.Warnings); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.env.Stdout, "%d objects, no errors, %d warnings\n", len(result.Changes), len(result.Warnings))
	return err
}
