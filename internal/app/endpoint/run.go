// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/metrics"
)

const command = "weft-endpoint"

// settings are what the command line and the environment say together.
type settings struct {
	Config
	environment Environment
	resources   string
	metrics     string
	check       bool
}

// Run is the command weft-endpoint: it serves until ctx ends and returns the
// exit status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	s, err := parse(args, lookup, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", command, err)
		return 2
	}
	level := slog.Level(s.environment.LogLevel)
	logger := log.Setup(stderr, level)
	resources, err := OpenResources(s.resources, s.Trench, s.Conduit, logger)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", command, err)
		return 2
	}
	if s.check {
		return 0
	}
	log.ChangeOnSignal(ctx, level)
	if err := s.serve(ctx, resources, logger); err != nil {
		logger.Error("endpoint ended", log.Err(err))
		return 1
	}
	return 0
}

func parse(args []string, lookup config.Lookup, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.resources, "resources", "", "file or directory of manifests: streams, flows, VIPs, gateways; read again when it changes and on SIGHUP")
	external := flags.String("interface", "ext0", "external interface")
	netNS := flags.String("netns", "", "path of the network namespace to work in (default: the process's own)")
	vlan := flags.Uint("vlan", 0, "VLAN tag on the external interface, 0 is none")
	mtu := flags.Uint("mtu", 0, "MTU of connections, 0 is the client's")
	tableSize := flags.Uint("table-size", 0, "slots of a Maglev table, a prime number (default 65537)")
	passSocket := flags.Bool("pass-socket", true, "register with a descriptor of a unix socket, not its path")
	flags.StringVar(&s.metrics, "metrics", "", "address to serve Prometheus metrics on, such as 127.0.0.1:9090")
	flags.BoolVar(&s.check, "check", false, "read the configuration and the resources, say what is wrong with them, and exit")
	flags.Usage = func() {
		_, _ = fmt.Fprintf(stderr, "Usage: %s --resources PATH [flags]\n\n%s\n", command, config.Usage(&Environment{}))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if s.environment, err = ReadEnvironment(lookup); err != nil {
		return s, err
	}
	if s.Config, err = s.environment.Config(); err != nil {
		return s, err
	}
	if s.resources == "" {
		return s, errors.New("--resources is missing")
	}
	if *vlan > 4094 || *mtu > 1<<16 || *tableSize > 1<<24 {
		return s, fmt.Errorf("--vlan %d, --mtu %d or --table-size %d is out of range", *vlan, *mtu, *tableSize)
	}
	s.ExternalInterface, s.NetNS = *external, *netNS
	s.VLAN, s.MTU, s.TableSize = uint16(*vlan), uint32(*mtu), uint32(*tableSize)
	s.PassSocket = *passSocket && s.ListenOn.Scheme == "unix"
	return s, s.Validate()
}

// serve runs the endpoint until ctx ends or it stops by itself.
func (s *settings) serve(ctx context.Context, resources *Resources, logger *slog.Logger) error {
	balance, err := resources.Balance()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	stopMetrics, err := metrics.Serve(s.metrics, registry)
	if err != nil {
		return err
	}
	defer func() { _ = stopMetrics() }()
	component, err := Start(ctx, s.Config, Deps{
		Security: mesh.Plain(s.environment.MaxTokenLifetime), Log: logger, Metrics: registry, Balance: balance,
	})
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	following.Go(func() { resources.Follow(ctx, reload, component.SetConfig) })
	<-component.Done() // also when ctx ends
	return component.Stop(context.WithoutCancel(ctx))
}
