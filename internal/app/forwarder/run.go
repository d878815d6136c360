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
		passSocket  bool
		pinDir      string
		c           Config
		environment Environment
	)
	return service.Run(ctx, service.Service{
		Name:  "weft-forwarder",
		Usage: config.Usage(&Environment{}),
		Flags: func(flags *flag.FlagSet) {
			flags.BoolVar(&passSocket, "pass-socket", true, "register with a descriptor of a unix socket, not its path")
			flags.StringVar(&pinDir, "pin-dir", "", "directory in a BPF file system to pin programs and maps in")
		},
		Load: func() (level slog.Level, err error) {
			if environment, err = ReadEnvironment(lookup); err != nil {
				return 0, err
			}
			c = environment.Config()
			c.PassSocket = passSocket && c.ListenOn.Scheme == "unix"
			c.PinDir = pinDir
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
