// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/preflight"
	"github.com/weft-project/weft/internal/traffic"
)

// Config of a run.
type Config struct {
	Nodes int       // on one of them everything runs in this process
	Out   io.Writer // the report
	In    io.Reader // Enter, with Pause
	Pause bool      // wait for Enter between the steps
	Keep  bool      // stay up with everything attached until ctx is done
}

const (
	prefix  = "weft-demo-"     // of every namespace of the demo
	dir     = "/run/weft-demo" // sockets and state
	webPort = 5000
	apiPort = 6000

	dwell    = 1500 * time.Millisecond // traffic observed after each change
	patience = 10 * time.Second        // for what should take milliseconds

	// The node that dies with several is the one of w3, which has no load
	// balancer.
	minNodes, maxNodes = 3, 9
)

var vips = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")}

// demo is one run.
type demo struct {
	report
	world
	cfg  Config
	topo *cluster.Namespaces

	a, b         *cluster.Site
	workloads    []*workload
	before       leftovers
	steady       *traffic.Steady
	pool         *traffic.Pool
	poolBefore   traffic.PoolStats
	changeMark   traffic.Mark
	changeMoment time.Time
}

// world is where the demo takes place: one process, or several nodes.
type world interface {
	steps() []func(context.Context) error
	// startReplica runs a load balancer behind a site's router.
	startReplica(ctx context.Context, s *cluster.Site, trench, letter string, number byte) error
	// inTables waits until every replica of trench-a balances over the first n
	// workloads.
	inTables(ctx context.Context, n int) error
	// explore says how to look around.
	explore() string
	// stop ends what the world has started, also after a failure.
	stop() error
}

// workload is an ordinary server.
type workload struct {
	*cluster.Process
	socket string // the agent's, of its node
}

// Validate says whether there can be such a demo.
func (c Config) Validate() error {
	if c.Nodes != 1 && (c.Nodes < minNodes || c.Nodes > maxNodes) {
		return fmt.Errorf("--nodes %d: neither 1 nor within %d to %d", c.Nodes, minNodes, maxNodes)
	}
	return nil
}

// Run runs the demo. The error names every check that failed.
func Run(ctx context.Context, cfg Config) error {
	if err := errors.Join(cfg.Validate(), preflight.Check()); err != nil {
		return err
	}
	d := &demo{cfg: cfg, report: report{out: cfg.Out}}
	if cfg.Pause {
		d.pause = bufio.NewReader(cfg.In)
	}
	unlock, err := lock()
	if err != nil {
		return err
	}
	if cfg.Nodes == 1 {
		d.world = &oneProcess{demo: d}
	} else {
		d.world = &manyNodes{demo: d}
	}
	if d.before, err = takeInventory(); err == nil {
		err = errors.Join(d.run(ctx), d.stopAll())
	}
	if err == nil {
		d.leavesNothing()
		err = d.err()
	}
	if err := errors.Join(err, unlock()); err != nil {
		return err
	}
	fmt.Fprintln(cfg.Out, "\nAll checks passed.")
	return nil
}

func (d *demo) run(ctx context.Context) error {
	steps := d.steps()
	d.total = len(steps) + 1
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if d.cfg.Keep {
		d.keep(ctx)
	}
	return d.detachAll()
}

// keep leaves everything running for the user to look around.
func (d *demo) keep(ctx context.Context) {
	d.stopTraffic()
	self, err := os.Executable()
	if err != nil {
		self = "weft"
	}
	fmt.Fprintf(d.out, "\nEverything stays up until you press Ctrl-C. In another terminal:\n"+
		"  alias weft=%s\n  %s\n", self, strings.ReplaceAll(d.explore(), "\n", "\n  "))
	<-ctx.Done()
}

// startWorkload runs a server in a namespace of its own.
func (d *demo) startWorkload(ctx context.Context, name, socket string) error {
	start := time.Now()
	path, err := d.topo.Add(name)
	if err != nil {
		return err
	}
	p, err := cluster.NewServer(name, path, dir+"/"+name+".log", webPort, apiPort)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	d.workloads = append(d.workloads, &workload{Process: p, socket: socket})
	d.took(start, "%s serves ports %d and %d, pid %d", name, webPort, apiPort, p.PID())
	return nil
}

func destinations(port uint16) []netip.AddrPort {
	var to []netip.AddrPort
	for _, vip := range vips {
		to = append(to, netip.AddrPortFrom(vip, port))
	}
	return to
}
