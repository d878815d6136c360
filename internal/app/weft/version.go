// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

func (a *app) versionCommand() *cobra.Command {
	var daemon bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Example: `  weft version
  weft version --daemon -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !daemon {
				return a.printVersion(cli.Version())
			}
			return a.withDaemon(cmd.Context(), func(ctx context.Context, client daemonv1.DaemonClient) error {
				ctx, cancel := a.call(ctx)
				defer cancel()
				v, err := client.Version(ctx, &daemonv1.VersionRequest{})
				if err != nil {
					return err
				}
				return a.printVersion(v)
			})
		},
	}
	cmd.Flags().BoolVar(&daemon, "daemon", false, "ask the running daemon instead")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printVersion(v *daemonv1.VersionResponse) error {
	if !a.format.Human() {
		return a.format.Write(a.env.Stdout, struct {
			Version   string `json:"version"`
			Commit    string `json:"commit,omitempty"`
			GoVersion string `json:"go-version"`
		}{v.GetVersion(), v.GetCommit(), v.GetGoVersion()})
	}
	commit := ""
	if v.GetCommit() != "" {
		commit = " " + v.GetCommit()
	}
	_, err := fmt.Fprintf(a.env.Stdout, "weft %s%s (%s)\n", v.GetVersion(), commit, v.GetGoVersion())
	return err
}

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the daemon runs",
		Example: `  weft status
  weft status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDaemon(cmd.Context(), func(ctx context.Context, client daemonv1.DaemonClient) error {
				ctx, cancel := a.call(ctx)
				defer cancel()
				st, err := client.Status(ctx, &daemonv1.StatusRequest{})
				if err != nil {
					return err
				}
				return a.printStatus(st)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

type componentView struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"`
}

func (a *app) printStatus(st *daemonv1.StatusResponse) error {
	if !a.format.Human() {
		components := []componentView{}
		for _, c := range st.GetComponents() {
			components = append(components, componentView{c.GetName(), c.GetReady(), c.GetMessage()})
		}
		return a.format.Write(a.env.Stdout, struct {
			Started    string          `json:"started"`
			Generation uint64          `json:"generation"`
			Objects    int32           `json:"objects"`
			Components []componentView `json:"components"`
		}{st.GetStarted().AsTime().Format("2006-01-02T15:04:05Z07:00"), st.GetGeneration(), st.GetObjects(), components})
	}
	t := cli.Table{Header: []string{"COMPONENT", "READY", "MESSAGE"}}
	for _, c := range st.GetComponents() {
		ready := cli.Cell{Text: "yes", Style: cli.Good}
		if !c.GetReady() {
			ready = cli.Cell{Text: "no", Style: cli.Bad}
		}
		t.Add(cli.Text(c.GetName()), ready, cli.Text(c.GetMessage()))
	}
	if _, err := fmt.Fprintf(a.env.Stdout, "up %s, %d resources, generation %d\n",
		cli.Age(a.env.Now(), st.GetStarted().AsTime()), st.GetObjects(), st.GetGeneration()); err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t.Print(a.env.Stdout, a.env.Color())
}
