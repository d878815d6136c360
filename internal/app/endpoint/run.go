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
	"path/filepath"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/app/inspector"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/service"
	"github.com/weft-project/weft/internal/config"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/nodecheck"
	"github.com/weft-project/weft/pkg/dataplane/lb"
)

// settings are what the command line and the environment say together.
type settings struct {
	Config
	environment             Environment
	path                    string // of the manifests
	adminSocket             string // where to be inspected; "": nowhere
	vlan, mtu               uint
	tableSize, maxTableSize uint
	passSocket              bool
	secretsDir              string
	onStop                  string // keep or remove
}

// Run is the command weft-endpoint: it serves until ctx ends and returns the
// exit status.
func Run(ctx context.Context, args []string, lookup config.Lookup, stderr io.Writer) int {
	var s settings
	return service.Run(ctx, service.Service{
		Name:  "weft-endpoint",
		Usage: config.Usage(&Environment{}),
		Flags: s.flags,
		Load: func() (slog.Level, error) {
			err := s.load(lookup)
			return slog.Level(s.environment.LogLevel), err
		},
		Serve: s.serve,
	}, args, stderr)
}

func (s *settings) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.path, "resources", "", "needed: file or directory of manifests: streams, flows, VIPs, gateways; read again when it changes and on SIGHUP")
	flags.StringVar(&s.ExternalInterface, "interface", "ext0", "external interface")
	flags.StringVar(&s.NetNS, "netns", "", "path of the network namespace to work in (default: the process's own)")
	flags.StringVar(&s.StateDir, "state-dir", "", "directory that keeps leases of addresses over a restart (default: the routes to legs in the namespace do)")
	flags.UintVar(&s.vlan, "vlan", 0, "VLAN tag on the external interface, 0 is none")
	flags.UintVar(&s.mtu, "mtu", 0, "MTU of connections, 0 is the client's")
	flags.UintVar(&s.tableSize, "table-size", 0, "slots of the Maglev table of a stream that names none, a prime number (default 65537)")
	flags.UintVar(&s.maxTableSize, "max-table-size", 0, "room for the table of a stream that names its size; 4 bytes a slot for every stream (default that of --table-size)")
	flags.TextVar(&s.Mode, "mode", lb.ModeAuto, "where the load balancer meets frames from outside: tcx, xdp (in the driver), or auto, which is xdp where it pays")
	flags.IntVar(&s.MaxFlows, "max-flows", 0, "flows that may exist at once (default 16384)")
	flags.IntVar(&s.MaxFragments, "max-fragments", 0, "fragmented packets that are remembered at once (default 16384)")
	flags.StringVar(&s.PinDir, "pin-dir", "", "directory in a BPF file system, of this endpoint alone, to pin the data path in: it works on when the process is killed, and the next one takes over (default: it ends with the process)")
	flags.StringVar(&s.onStop, "on-stop", "remove", "what becomes of the data path at SIGTERM: remove, or keep (with --pin-dir) for the process that follows at once")
	flags.DurationVar(&s.Grace, "grace", 0, "how long to wait for the workloads of the process before, while its data path works on (default 5s)")
	flags.StringVar(&s.Mechanism, "mechanism", "", "how workloads on other nodes are reached: vxlan or wireguard (default: what their forwarders are configured for)")
	flags.StringVar(&s.MechanismPolicy, "mechanism-policy", "", "whether --mechanism is preferred or required (default preferred)")
	flags.StringVar(&s.adminSocket, "admin-socket", "", "unix socket for weft trace, top, observe and check, for its owner only (default: none)")
	flags.StringVar(&s.secretsDir, "secrets-dir", "", "directory of the Secrets that gateways name, each a directory with a file for every key, as Kubernetes mounts them; keys are followed when they change")
	flags.StringVar(&s.FrontendSocket, "frontend-socket", "", "control socket of the process that speaks BGP and BFD, which goes on when this one is killed (default: /run/weft/frontend-<name>.sock)")
	flags.DurationVar(&s.Withdraw, "withdraw", DefaultWithdraw, "how long gateways get to send traffic elsewhere before clients leave at SIGTERM")
	flags.BoolVar(&s.passSocket, "pass-socket", true, "register with a descriptor of a unix socket, not its path")
}

func (s *settings) load(lookup config.Lookup) error {
	flags := s.Config // what flags set in it
	var err error
	if s.environment, err = ReadEnvironment(lookup); err != nil {
		return err
	}
	if s.Config, err = s.environment.Config(); err != nil {
		return err
	}
	if s.path == "" {
		return errors.New("--resources is missing")
	}
	if s.vlan > 4094 || s.mtu > 1<<16 || max(s.tableSize, s.maxTableSize) > lb.MaxTableSize {
		return fmt.Errorf("--vlan %d, --mtu %d, --table-size %d or --max-table-size %d is out of range", s.vlan, s.mtu, s.tableSize, s.maxTableSize)
	}
	if len(s.adminSocket) > service.MaxSocketPath {
		return fmt.Errorf("--admin-socket %s has more than %d bytes", s.adminSocket, service.MaxSocketPath)
	}
	if s.onStop != "keep" && s.onStop != "remove" {
		return fmt.Errorf("--on-stop %q: neither keep nor remove", s.onStop)
	}
	if s.onStop == "keep" && flags.PinDir == "" {
		return errors.New("--on-stop keep: needs --pin-dir")
	}
	s.PinDir, s.KeepOnEnd, s.Grace = flags.PinDir, s.onStop == "keep", flags.Grace
	s.ExternalInterface, s.NetNS, s.Mode, s.StateDir = flags.ExternalInterface, flags.NetNS, flags.Mode, flags.StateDir
	s.Mechanism, s.MechanismPolicy = flags.Mechanism, flags.MechanismPolicy
	s.FrontendSocket, s.Withdraw = flags.FrontendSocket, flags.Withdraw
	if s.FrontendSocket == "" {
		s.FrontendSocket = filepath.Join("/run/weft", FrontendSocketName(s.Name))
	}
	s.MaxFlows, s.MaxFragments = flags.MaxFlows, flags.MaxFragments
	s.VLAN, s.MTU, s.TableSize, s.MaxTableSize = uint16(s.vlan), uint32(s.mtu), uint32(s.tableSize), uint32(s.maxTableSize)
	s.PassSocket = s.passSocket && s.ListenOn.Scheme == "unix"
	if err := s.Validate(); err != nil {
		return err
	}
	_, err = OpenResources(s.path, s.Trench, s.Conduit, slog.New(slog.DiscardHandler))
	return err
}

// serve runs the endpoint until ctx ends or it stops by itself.
func (s *settings) serve(ctx context.Context, logger *slog.Logger, registry *prometheus.Registry) error {
	resources, err := OpenResources(s.path, s.Trench, s.Conduit, logger)
	if err != nil {
		return err
	}
	balance, err := resources.Balance()
	if err != nil {
		return err
	}
	component, err := Start(ctx, s.Config, Deps{
		Security: mesh.Plain(s.environment.MaxTokenLifetime), Log: logger, Metrics: registry, Balance: balance,
	})
	if err != nil {
		return err
	}
	stopAdmin, err := s.serveAdmin(component)
	if err != nil {
		return errors.Join(err, component.Stop(context.WithoutCancel(ctx)))
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	following.Go(func() { resources.Follow(ctx, reload, component.SetConfig) })
	following.Go(func() { resources.FollowFrontend(ctx, s.Name, s.secretsDir, component.SetFrontend) })
	<-component.Done() // also when ctx ends
	return errors.Join(stopAdmin(), component.Stop(context.WithoutCancel(ctx)))
}

// serveAdmin serves the administrator's socket, if there shall be one.
func (s *settings) serveAdmin(component *Component) (stop func() error, err error) {
	if s.adminSocket == "" {
		return func() error { return nil }, nil
	}
	inspection := inspector.NewServer(func() []inspect.Replica {
		return []inspect.Replica{component.Inspect()}
	})
	return service.ServeAdmin(s.adminSocket, func(r grpc.ServiceRegistrar) {
		inspection.Register(r)
		inspector.NewFrontendServer(func() []announce.State { return []announce.State{component.Frontend()} }).Register(r)
		nodecheck.Register(r, component.CheckPart())
	})
}
