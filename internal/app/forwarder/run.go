// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/nodecheck"
)

// Run is the command weft-forwarder: it serves until ctx ends and returns the
// exit status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	var (
		own         flags
		c           Config
		environment Environment
	)
	return service.Run(ctx, service.Service{
		Name:  "weft-forwarder",
		Usage: config.Usage(&Environment{}),
		Flags: func(flags *flag.FlagSet) {
			own.define(flags)
		},
		Load: func() (level slog.Level, err error) {
			if environment, err = ReadEnvironment(lookup); err != nil {
				return 0, err
			}
			c = environment.Config()
			if c, err = own.apply(c); err != nil {
				return 0, err
			}
			return slog.Level(environment.LogLevel), c.Validate()
		},
		Serve: func(ctx context.Context, logger *slog.Logger, registry *prometheus.Registry) error {
			if own.cleanup {
				return cleanup(ctx, c, own.dryRun, stderr)
			}
			component, err := Start(ctx, c, Deps{
				Security: mesh.Plain(environment.MaxTokenLifetime), Log: logger, Metrics: registry,
			})
			if err != nil {
				return err
			}
			stopAdmin, err := serveAdmin(own.adminSocket, component)
			if err != nil {
				return errors.Join(err, component.Stop())
			}
			<-ctx.Done()
			return errors.Join(stopAdmin(), component.Stop())
		},
	}, args, stderr)
}

// cleanup removes what an earlier forwarder has left.
func cleanup(ctx context.Context, c Config, dryRun bool, out io.Writer) error {
	r := Remains{c}
	var sockets []string
	if c.ListenOn.Scheme == "unix" {
		sockets = append(sockets, c.ListenOn.Path)
	}
	if err := r.Idle(sockets...); err != nil {
		return err
	}
	return Removal{
		List: r.List, Remove: func() error { return r.Remove(ctx) }, DryRun: dryRun, Out: out,
	}.Run()
}

// serveAdmin serves the administrator's socket, if there shall be one.
func serveAdmin(path string, c *Component) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	return service.ServeAdmin(path, func(r grpc.ServiceRegistrar) { nodecheck.Register(r, c.CheckPart()) })
}
