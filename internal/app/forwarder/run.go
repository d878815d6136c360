// SPDX-License-Identifier: Apache-2.0

package forwarder

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/metrics"
)

// Run is the command weft-forwarder: it serves until ctx ends and returns the
// exit status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	flags := flag.NewFlagSet("weft-forwarder", flag.ContinueOnError)
	flags.SetOutput(stderr)
	check := flags.Bool("check", false, "read the configuration, say what is wrong with it, and exit")
	passSocket := flags.Bool("pass-socket", true, "register with a descriptor of a unix socket, not its path")
	address := flags.String("metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	pinDir := flags.String("pin-dir", "", "directory in a BPF file system to pin programs and maps in")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "Usage: weft-forwarder [flags]\n\n%s\n", config.Usage(&Environment{}))
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		_, _ = fmt.Fprintf(stderr, "weft-forwarder: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	environment, err := ReadEnvironment(lookup)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "weft-forwarder: %v\n", err)
		return 2
	}
	c := environment.Config()
	c.PassSocket = *passSocket && c.ListenOn.Scheme == "unix"
	c.PinDir = *pinDir
	if *check {
		if err := c.Validate(); err != nil {
			_, _ = fmt.Fprintf(stderr, "weft-forwarder: %v\n", err)
			return 2
		}
		return 0
	}
	level := slog.Level(environment.LogLevel)
	logger := log.Setup(stderr, level)
	log.ChangeOnSignal(ctx, level)
	registry := prometheus.NewRegistry()
	stopMetrics, err := metrics.Serve(*address, registry)
	if err != nil {
		logger.Error("cannot start", log.Err(err))
		return 1
	}
	defer func() { _ = stopMetrics() }()
	component, err := Start(ctx, c, Deps{Security: mesh.Plain(environment.MaxTokenLifetime), Log: logger, Metrics: registry})
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
