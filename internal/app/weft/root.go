// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/cli"
)

// Default sockets.
const (
	AgentSocket = "/run/weft/agent.sock"
	AdminSocket = "/run/weft/admin.sock"
)

// app is what the commands share.
type app struct {
	env     *cli.Env
	socket  string
	timeout time.Duration
	format  cli.Format
}

// New returns the command tree. Commands that are wired elsewhere, such as up
// and demo, come as extra.
func New(env *cli.Env, extra ...*cobra.Command) *cobra.Command {
	a := &app{env: env, format: cli.FormatTable}
	root := &cobra.Command{
		Use:   "weft",
		Short: "Weave networks into running workloads",
		Long: `weft gives running workloads secondary networks with load-balanced service
addresses, without a restart and without a privilege inside the workload.

Workloads reach the agent on ` + AgentSocket + `; it knows them by their network
namespace. Administrators use ` + AdminSocket + `. --socket or
WEFT_SOCKET names another socket, or the directory of both.`,
		Example: `  weft demo                                     # see all of it work
  weft up                                       # run everything on this host
  weft apply -f network.yaml                    # define trenches, conduits, streams ...
  weft attachment add lb.trench-a --stream web  # join, from inside the workload
  weft get flows
  weft trace packet --src 198.51.100.7 --dst 20.0.0.1 --dport 80  # why does it not arrive?`,
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cli.Usagef("%w; see %q", err, cmd.CommandPath()+" --help")
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.socket, "socket", "", "socket to use, or the directory of agent.sock and admin.sock (default /run/weft; environment WEFT_SOCKET)")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for an answer")
	root.AddCommand(a.attachmentCommand(), a.streamCommand(), a.applyCommand(), a.deleteCommand(),
		a.getCommand(), a.checkCommand(), a.statusCommand(), a.versionCommand(),
		a.frontendCommand(), a.traceCommand(), a.topCommand(), a.observeCommand())
	root.AddCommand(extra...)
	wrapArgErrors(root)
	return root
}

// Run executes a command line and returns the exit code.
func Run(ctx context.Context, env *cli.Env, args []string, extra ...*cobra.Command) int {
	root := New(env, extra...)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return cli.ExitOK
	}
	if strings.HasPrefix(err.Error(), "required flag(s)") {
		err = cli.Usagef("%w; see %q", err, cmd.CommandPath()+" --help")
	}
	return cli.PrintError(env.Stderr, root.Name(), err)
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := ""
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return cli.Usagef("there is no command %q%s; see %q", cmd.CommandPath()+" "+name, hint, cmd.CommandPath()+" --help")
}

// wrapArgErrors makes a wrong number of arguments a usage error everywhere.
func wrapArgErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var usage *cli.UsageError
			if err == nil || errors.As(err, &usage) {
				return err
			}
			return cli.Usagef("%w; usage: %s", err, cmd.UseLine())
		}
	}
	for _, c := range cmd.Commands() {
		wrapArgErrors(c)
	}
}

// noun returns a command that only groups verbs.
func noun(use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(verbs...)
	return cmd
}

// outputFlag adds -o to a command.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(&a.format, "output", "o", "output format: "+strings.Join(cli.Formats, ", "))
	// Completion is a convenience: without it the flag works all the same.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(cli.Formats, cobra.ShellCompDirectiveNoFileComp))
}
