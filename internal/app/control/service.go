// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/metrics"
)

// common is what both commands share.
type common struct {
	listenOn       []string
	metrics, level string
	lifetime       time.Duration
	check          bool
}

func (c *common) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&c.listenOn, "listen-on", nil, "URL to serve on, unix:///path or tcp://host:port; may be repeated")
	f.StringVar(&c.metrics, "metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	f.DurationVar(&c.lifetime, "token-lifetime", mesh.DefaultTokenLifetime, "lifetime of what nobody refreshes")
	f.StringVar(&c.level, "log-level", "info", "trace, debug, info, warn or error")
	f.BoolVar(&c.check, "check", false, "check the configuration and exit")
}

// urls parses the values of a flag.
func urls(flag string, texts ...string) ([]*url.URL, error) {
	var all []*url.URL
	var errs []error
	for _, text := range texts {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("--%s %q is neither unix:///path nor tcp://host:port", flag, text))
		case u.Scheme == "tcp" && u.Port() != "" && u.Path == "", u.Scheme == "unix" && u.Path != "" && u.Host == "":
			all = append(all, u)
		default:
			errs = append(errs, fmt.Errorf("--%s %q is neither unix:///path nor tcp://host:port", flag, text))
		}
	}
	return all, errors.Join(errs...)
}

// run serves until the process is told to stop. start returns what ends it.
func (c *common) run(cmd *cobra.Command, problem error, start func(context.Context) (stop func() error, err error)) error {
	level, err := log.ParseLevel(c.level)
	if err != nil {
		problem = errors.Join(problem, fmt.Errorf("--log-level: %w", err))
	}
	if c.lifetime < time.Second {
		problem = errors.Join(problem, fmt.Errorf("--token-lifetime %s is shorter than a second", c.lifetime))
	}
	if problem != nil {
		return cli.Usagef("%w", problem)
	}
	if c.check {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
		return err
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	service.SaveMemory()
	log.Setup(cmd.ErrOrStderr(), level)
	log.ChangeOnSignal(ctx, level)
	stopMetrics, err := metrics.Serve(c.metrics, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	stop, err := start(context.WithoutCancel(ctx))
	if err != nil {
		return errors.Join(err, stopMetrics())
	}
	<-ctx.Done()
	cancel() // a second interrupt ends the process at once
	return errors.Join(stop(), stopMetrics())
}
