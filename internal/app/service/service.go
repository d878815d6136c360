// SPDX-License-Identifier: Apache-2.0

package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/metrics"
)

// Service is one command.
type Service struct {
	Name  string
	Usage string // of the environment, shown by --help
	// Flags adds the command's own flags.
	Flags func(*flag.FlagSet)
	// Load reads and checks the configuration, with the flags parsed; it
	// changes nothing. --check ends after it.
	Load func() (slog.Level, error)
	// Serve runs until ctx ends.
	Serve func(ctx context.Context, logger *slog.Logger, registry *prometheus.Registry) error
}

// Exit statuses.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// Run runs a command and returns the exit status: 2 when the arguments or the
// configuration are wrong, 1 when it failed later.
func Run(ctx context.Context, s Service, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	check := flags.Bool("check", false, "read the whole configuration, say what is wrong with it, and exit")
	address := flags.String("metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	s.Flags(flags)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "Usage: %s [flags]\n\n%s\n", s.Name, s.Usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage // flag has said why
	}
	level, err := s.load(flags)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
		return exitUsage
	}
	if *check {
		return exitOK
	}
	SaveMemory()
	logger := log.Setup(stderr, level)
	log.ChangeOnSignal(ctx, level)
	if err := s.serve(ctx, logger, *address); err != nil {
		logger.Error("ended", log.Err(err))
		return exitFailed
	}
	return exitOK
}

func (s Service) load(flags *flag.FlagSet) (slog.Level, error) {
	if flags.NArg() > 0 {
		return 0, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return s.Load()
}

func (s Service) serve(ctx context.Context, logger *slog.Logger, address string) error {
	registry := prometheus.NewRegistry()
	stop, err := metrics.Serve(address, registry)
	if err != nil {
		return err
	}
	return errors.Join(s.Serve(ctx, logger, registry), stop())
}
