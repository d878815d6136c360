// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/log"
)

// Run is the command weft-agent: it serves until ctx ends and returns the exit
// status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	complain := func(err error) int {
		_, _ = fmt.Fprintf(stderr, "weft-agent: %v\n", err)
		return 2
	}
	flags := flag.NewFlagSet("weft-agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var given Config
	checkOnly := flags.Bool("check", false, "read the configuration and the stored attachments, say what is wrong with them, and exit")
	flags.StringVar(&given.Node, "node", "", "first part of the targets' names, unique in the mesh (default the host's name)")
	flags.StringVar(&given.Socket, "socket", "", "socket for workloads (default /run/weft/agent.sock)")
	flags.StringVar(&given.AdminSocket, "admin-socket", "", "socket for the administrator (default /run/weft/admin.sock)")
	flags.StringVar(&given.StateDir, "state-dir", "", "directory of the wanted state (default /run/weft/agent)")
	flags.BoolVar(&given.SendFD, "send-fd", false, "pass namespaces to the nsmgr as descriptors, for one that does not share our /proc and state directory")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "Usage: weft-agent [flags]\n\n%s\n", config.Usage(&Environment{}))
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		return complain(fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	environment, err := ReadEnvironment(lookup)
	if err != nil {
		return complain(err)
	}
	c := environment.Config()
	c.Node, c.Socket, c.AdminSocket, c.StateDir, c.SendFD = given.Node, given.Socket, given.AdminSocket, given.StateDir, given.SendFD
	if *checkOnly {
		if err := check(c); err != nil {
			return complain(err)
		}
		return 0
	}
	level := slog.Level(environment.LogLevel)
	logger := log.Setup(stderr, level)
	log.ChangeOnSignal(ctx, level)
	component, err := Start(ctx, c, Deps{Security: mesh.Plain(environment.MaxTokenLifetime), Log: logger})
	if err != nil {
		logger.Error("cannot start", log.Err(err))
		return 1
	}
	<-ctx.Done()
	if err := component.Stop(); err != nil {
		logger.Error("stopped with errors", log.Err(err))
		return 1
	}
	return 0
}

func check(c Config) error {
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	store, err := attachment.NewFiles(filepath.Join(c.StateDir, "attachments"))
	if err != nil {
		return err
	}
	_, err = store.Load()
	return err
}
