// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/cluster"
)

// oneProcess is one node, all components of which run in this process.
type oneProcess struct {
	*demo
	stack    *up.Stack
	node     string // namespace of the node's ends
	replicas []*up.Endpoint
}

func (p *oneProcess) steps() []func(context.Context) error {
	return []func(context.Context) error{
		p.startWorkloads, p.startStack, p.exchange, p.changes, p.killOne,
	}
}

// startWorkloads is step 1.
func (p *oneProcess) startWorkloads(ctx context.Context) error {
	p.step("Four ordinary processes start: TCP and UDP servers in namespaces of their own, nothing of Weft in them")
	p.topo = cluster.NewNamespaces(prefix)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"w1", "w2", "w3", "w4"} {
		if err := p.startWorkload(ctx, name, dir+"/agent.sock"); err != nil {
			return err
		}
	}
	return nil
}

// startStack brings up the mesh, the outside and the load balancers; a user
// does that with `weft up`, once per host.
func (p *oneProcess) startStack(ctx context.Context) error {
	p.step("Three of them attach to lb.trench-a, stream web, at run time, from inside their namespace")
	start := time.Now()
	var err error
	if p.node, err = p.topo.Add("node"); err != nil {
		return err
	}
	if p.stack, err = up.Start(ctx, up.Config{Node: "demo", NetNS: p.node, RunDir: dir, StateDir: dir + "/state"}); err != nil {
		return err
	}
	p.took(start, "registry, nsmgr, forwarder and agent run in this process")
	start = time.Now()
	if err := p.stack.Apply("demo.yaml", examples.Demo); err != nil {
		return err
	}
	if err := p.startSites(ctx); err != nil {
		return err
	}
	p.took(start, "load balancers lb-a-1 and lb-a-2 run, the router has ECMP routes for the VIPs to both")
	return p.attachThree(ctx)
}

func (p *oneProcess) startReplica(ctx context.Context, s *cluster.Site, trench, letter string, number byte) error {
	name := fmt.Sprintf("lb-%s-%d", letter, number)
	path, err := p.topo.Add(name)
	if err != nil {
		return err
	}
	if err := s.Connect(path, number); err != nil {
		return err
	}
	r, err := p.stack.StartReplica(ctx, up.Replica{
		Name: name, Trench: trench, Conduit: "lb", NetNS: path, Interface: cluster.External,
		Prefixes: s.LegPrefixes(number),
	})
	if err != nil {
		return err
	}
	p.replicas = append(p.replicas, r)
	return nil
}

func (p *oneProcess) inTables(_ context.Context, n int) error {
	return await(fmt.Sprintf("%d targets in the tables of every replica", n), func() bool {
		for _, r := range p.replicas {
			if r.Trench() == "trench-a" && r.Serving("web") != n {
				return false
			}
		}
		return true
	})
}

// changes is step 4.
func (p *oneProcess) changes(ctx context.Context) error {
	return p.changeUnderTraffic(ctx,
		p.fourthJoins, p.oneLeavesAndReturns, p.oneJoinsSecondStream, p.oneJoinsSecondTrench, p.replicaComesAndGoes)
}

func (p *oneProcess) replicaComesAndGoes(ctx context.Context) error {
	p.say("-- a third load balancer comes")
	p.begin()
	if err := p.startReplica(ctx, p.a, "trench-a", "a", 3); err != nil {
		return err
	}
	// The router learns of a replica when it forwards; BGP will do the same.
	if err := p.inTables(ctx, 4); err != nil {
		return err
	}
	if err := p.a.Route(vips, 1, 2, 3); err != nil {
		return err
	}
	p.took(p.changeMoment, "lb-a-3 has all four targets and its share of the traffic")
	w, err := p.observe(ctx)
	if err != nil {
		return err
	}
	p.summary(w)
	p.check(w.Lost == 0 && w.MovedFlows == 0, "all replicas have the same tables: no flow moved, nothing lost")
	p.say("-- it goes")
	p.begin()
	if err := p.a.Route(vips, 1, 2); err != nil {
		return err
	}
	third := p.replicas[len(p.replicas)-1]
	p.replicas = p.replicas[:len(p.replicas)-1]
	if err := third.Stop(); err != nil {
		return fmt.Errorf("stop lb-a-3: %w", err)
	}
	p.took(p.changeMoment, "lb-a-3 has handed over and stopped")
	if err := p.topo.Remove("lb-a-3"); err != nil {
		return err
	}
	if w, err = p.observe(ctx); err != nil {
		return err
	}
	p.summary(w)
	p.check(w.Lost == 0 && w.MovedFlows == 0, "no flow moved, nothing lost")
	return nil
}

// killOne is step 5.
func (p *oneProcess) killOne(ctx context.Context) error {
	p.step("A workload's namespace is killed")
	victim := p.workloads[3]
	p.begin()
	start := time.Now()
	if err := p.topo.Remove(victim.Name); err != nil {
		return err
	}
	if err := victim.Kill(); err != nil {
		return err
	}
	w, err := p.observe(ctx)
	if err != nil {
		return err
	}
	p.blackout(w, start, 100*time.Millisecond, fmt.Sprintf("%s out of the tables: last packet sent to it", victim.Name), "the kill")
	p.summary(w)
	p.workloads = p.workloads[:3]
	return p.inTables(ctx, 3)
}

func (p *oneProcess) explore() string {
	return fmt.Sprintf("export WEFT_SOCKET=%s\n"+
		"weft status\n"+
		"weft get all\n"+
		"weft attachment show --admin -o wide\n"+
		"weft stream leave web --admin --attachment w2-%s\n"+
		"weft attachment delete --admin w1-%s", dir, nic, nic)
}

func (p *oneProcess) stop() error {
	var errs []error
	for _, r := range p.replicas {
		errs = append(errs, r.Stop())
	}
	if p.stack != nil {
		errs = append(errs, p.stack.Stop(), p.emptyNode())
	}
	return errors.Join(errs...)
}

// emptyNode checks that no end of an interface remains on the node.
func (p *oneProcess) emptyNode() error {
	links, err := interfaces(p.node)
	if err == nil && len(links) > 0 {
		err = fmt.Errorf("the forwarder left interfaces on the node: %s", strings.Join(links, ", "))
	}
	return err
}
