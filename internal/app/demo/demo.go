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
	"path/filepath"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/preflight"
	"github.com/weft-project/weft/internal/traffic"
)

// Config of a run.
type Config struct {
	Out   io.Writer // the report
	In    io.Reader // Enter, with Pause
	Pause bool      // wait for Enter between the steps
	Keep  bool      // stay up with everything attached until ctx is done
}

const (
	steps   = 6
	prefix  = "weft-demo-" // of every namespace of the demo
	webPort = 5000
	apiPort = 6000

	dwell    = 1500 * time.Millisecond // traffic observed after each change
	patience = 10 * time.Second        // for what should take milliseconds
)

var vips = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")}

// demo is one run.
type demo struct {
	report
	cfg  Config
	dir  string // sockets and state
	topo *cluster.Namespaces

	stack        *up.Stack
	node         string // namespace of the node's ends
	a, b         *cluster.Site
	replicas     []*up.Endpoint
	workloads    []*cluster.Process
	before       leftovers
	steady       *traffic.Steady
	pool         *traffic.Pool
	poolBefore   traffic.PoolStats
	changeMark   traffic.Mark
	changeMoment time.Time
}

// Run runs the demo. The error names every check that failed.
func Run(ctx context.Context, cfg Config) error {
	if err := preflight.Check(); err != nil {
		return err
	}
	d := &demo{cfg: cfg, report: report{out: cfg.Out}, topo: cluster.NewNamespaces(prefix)}
	if cfg.Pause {
		d.pause = bufio.NewReader(cfg.In)
	}
	unlock, err := lock()
	if err != nil {
		return err
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
	for _, step := range []func(context.Context) error{
		d.startWorkloads, d.startStack, d.attachThree, d.exchange, d.changeUnderTraffic, d.killOne,
	} {
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
		"  export WEFT_SOCKET=%s; alias weft=%s\n"+
		"  weft status\n"+
		"  weft get all\n"+
		"  weft attachment show --admin -o wide\n"+
		"  weft stream leave web --admin --attachment w2-%s\n"+
		"  weft attachment delete --admin w1-%s\n", d.dir, self, nic, nic)
	<-ctx.Done()
}

// startWorkloads is step 1.
func (d *demo) startWorkloads(ctx context.Context) (err error) {
	d.step(1, "Four ordinary processes start: TCP and UDP servers in namespaces of their own, nothing of Weft in them")
	if d.dir, err = os.MkdirTemp("", "weft-demo-"); err != nil {
		return err
	}
	for _, name := range []string{"w1", "w2", "w3", "w4"} {
		start := time.Now()
		path, err := d.topo.Add(name)
		if err != nil {
			return err
		}
		w, err := cluster.NewServer(name, path, filepath.Join(d.dir, name+".log"), webPort, apiPort)
		if err != nil {
			return err
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
		d.workloads = append(d.workloads, w)
		d.took(start, "%s serves ports %d and %d, pid %d", name, webPort, apiPort, w.PID())
	}
	return nil
}

// startStack brings up the mesh, the outside and the load balancers; a user
// does that with `weft up`, once per host.
func (d *demo) startStack(ctx context.Context) error {
	d.step(2, "Three of them attach to lb.trench-a, stream web, at run time, from inside their namespace")
	start := time.Now()
	var err error
	if d.node, err = d.topo.Add("node"); err != nil {
		return err
	}
	if d.stack, err = up.Start(ctx, up.Config{Node: "demo", NetNS: d.node, RunDir: d.dir, StateDir: d.dir + "/state"}); err != nil {
		return err
	}
	d.took(start, "registry, nsmgr, forwarder and agent run in this process")
	start = time.Now()
	if err := d.stack.Apply("demo.yaml", examples.Demo); err != nil {
		return err
	}
	if d.a, err = cluster.NewSite(d.topo, "a", 1); err != nil {
		return err
	}
	if d.b, err = cluster.NewSite(d.topo, "b", 2); err != nil {
		return err
	}
	for number := range 2 {
		if err := d.startReplica(ctx, d.a, "trench-a", "a", byte(number+1)); err != nil {
			return err
		}
	}
	if err := d.a.Route(vips, 1, 2); err != nil {
		return err
	}
	d.took(start, "load balancers lb-a-1 and lb-a-2 run, the router has ECMP routes for the VIPs to both")
	return nil
}

func (d *demo) startReplica(ctx context.Context, s *cluster.Site, trench, letter string, number byte) error {
	name := fmt.Sprintf("lb-%s-%d", letter, number)
	path, err := d.topo.Add(name)
	if err != nil {
		return err
	}
	if err := s.Connect(path, number); err != nil {
		return err
	}
	r, err := d.stack.StartReplica(ctx, up.Replica{
		Name: name, Trench: trench, Conduit: "lb", NetNS: path, Interface: cluster.External,
		Prefixes: s.LegPrefixes(number),
	})
	if err != nil {
		return err
	}
	d.replicas = append(d.replicas, r)
	return nil
}

func destinations(port uint16) []netip.AddrPort {
	var to []netip.AddrPort
	for _, vip := range vips {
		to = append(to, netip.AddrPortFrom(vip, port))
	}
	return to
}
