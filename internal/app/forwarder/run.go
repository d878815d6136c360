// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"flag"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/config"
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
