// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/config"
)

// Run is the command weft-agent: it serves until ctx ends and returns the exit
// status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	var (
		given, c    Config
		environment Environment
	)
	return service.Run(ctx, service.Service{
		Name:  "weft-agent",
		Usage: config.Usage(&Environment{}),
		Flags: given.flags,
		Load: func() (level slog.Level, err error) {
			if environment, err = ReadEnvironment(lookup); err != nil {
				return 0, err
			}
			c = environment.Config()
			c.Node, c.Socket, c.AdminSocket, c.StateDir, c.SendFD = given.Node, given.Socket, given.AdminSocket, given.StateDir, given.SendFD
			return slog.Level(environment.LogLevel), check(c)
		},
		Serve: func(ctx context.Context, logger *slog.Logger, registry *prometheus.Registry) error {
			component, err := Start(ctx, c, Deps{
				Security: mesh.Plain(environment.MaxTokenLifetime), Log: logger, Metrics: registry,
			})
			if err != nil {
				return err
			}
			<-ctx.Done()
			return component.Stop()
		},
	}, args, stderr)
}

func (c *Config) flags(flags *flag.FlagSet) {
	flags.StringVar(&c.Node, "node", "", "first part of the targets' names, unique in the mesh (default the host's name)")
	flags.StringVar(&c.Socket, "socket", "", "socket for workloads (default /run/weft/agent.sock)")
	flags.StringVar(&c.AdminSocket, "admin-socket", "", "socket for the administrator (default /run/weft/admin.sock)")
	flags.StringVar(&c.StateDir, "state-dir", "", "directory of the wanted state (default /run/weft/agent)")
	flags.BoolVar(&c.SendFD, "send-fd", false, "pass namespaces to the nsmgr as descriptors, for one that does not share our /proc and state directory")
}

// check also reads the stored attachments.
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
