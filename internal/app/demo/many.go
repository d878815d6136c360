// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/cluster"
)

// manyNodes are namespaces as nodes, with the components as processes in them.
type manyNodes struct {
	*demo
	cluster *cluster.Cluster
}

func (m *manyNodes) steps() []func(context.Context) error {
	return []func(context.Context) error{
		m.startNodes, m.startAndAttach, m.exchange, m.changes, m.killProcesses, m.cutNode,
	}
}

// node spreads things over the nodes.
func (m *manyNodes) node(i int) *cluster.Node { return m.cluster.Nodes[i%len(m.cluster.Nodes)] }

// startNodes is step 1.
func (m *manyNodes) startNodes(ctx context.Context) (err error) {
	m.step(fmt.Sprintf("%d nodes start, each with nsmgr, forwarder and agent; then four ordinary processes on them", m.cfg.Nodes))
	start := time.Now()
	m.cluster, err = cluster.New(cluster.Options{
		Prefix: prefix, Dir: dir, Nodes: m.cfg.Nodes, Manifests: examples.Demo, OnStop: "remove",
	})
	if err != nil {
		return err
	}
	m.topo = m.cluster.Namespaces
	if err := m.cluster.Start(ctx); err != nil {
		return err
	}
	m.took(start, "%d processes run, the registry on %s", len(m.cluster.Processes()), m.node(0).Name)
	for i, name := range []string{"w1", "w2", "w3", "w4"} {
		if err := m.startWorkload(ctx, name, m.node(i).Socket(cluster.Agent)); err != nil {
			return err
		}
	}
	return nil
}

// startAndAttach is step 2.
func (m *manyNodes) startAndAttach(ctx context.Context) error {
	m.step("Three of them attach to lb.trench-a, stream web, at run time, from inside their namespace")
	start := time.Now()
	if err := m.startSites(ctx); err != nil {
		return err
	}
	m.took(start, "load balancers lb-a-1 on %s and lb-a-2 on %s run, the router has ECMP routes for the VIPs to both", m.node(0).Name, m.node(1).Name)
	m.say("w1 and w4 are on %s, w2 on %s, w3 on %s: legs between nodes are VXLAN tunnels", m.node(0).Name, m.node(1).Name, m.node(2).Name)
	if err := m.attachThree(ctx); err != nil {
		return err
	}
	return m.inEachTable(ctx)
}

// inEachTable asks each load balancer by itself for the first three: packets of a
// flow may take either, and one that learns of a target a moment later would
// reset a connection that the other has opened.
func (m *manyNodes) inEachTable(ctx context.Context) error {
	for number := range firstReplicas {
		if err := m.a.Route(vips, byte(number+1)); err != nil {
			return err
		}
		if err := m.inTables(ctx, 3); err != nil {
			return err
		}
	}
	return m.a.Route(vips, 1, 2)
}

// startReplica runs those of trench-a on the first nodes. That of trench-b is
// on another one than w3, and reached encrypted or not at all.
func (m *manyNodes) startReplica(ctx context.Context, s *cluster.Site, trench, letter string, number byte) error {
	o := cluster.ReplicaOptions{Trench: trench, Conduit: "lb", Site: s, Number: number, Pinned: true}
	if s == m.b {
		o.Mechanism = "wireguard"
	}
	r, err := m.node(int(number)-1).AddReplica(fmt.Sprintf("lb-%s-%d", letter, number), o)
	if err != nil {
		return err
	}
	return r.Start(ctx)
}

func (m *manyNodes) inTables(ctx context.Context, n int) error {
	return m.answering(ctx, m.workloads[:n]...)
}

// answering waits until exactly these workloads get the traffic.
func (m *manyNodes) answering(ctx context.Context, workloads ...*workload) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var names []string
	for _, w := range workloads {
		names = append(names, w.Name)
	}
	return m.a.Await(ctx, destinations(webPort), names...)
}

// changes is step 4.
func (m *manyNodes) changes(ctx context.Context) error {
	return m.changeUnderTraffic(ctx, m.fourthJoins, m.oneLeavesAndReturns, m.oneJoinsSecondStream, m.oneJoinsEncrypted)
}

// oneJoinsEncrypted joins a network whose traffic between nodes is encrypted.
func (m *manyNodes) oneJoinsEncrypted(ctx context.Context) error {
	m.say("-- lb.trench-b requires WireGuard between nodes")
	if err := m.oneJoinsSecondTrench(ctx); err != nil {
		return err
	}
	for _, n := range []*cluster.Node{m.node(0), m.node(2)} {
		packets, err := sent(n, encrypted)
		if err != nil {
			return err
		}
		m.check(packets > 0, "%s: %d packets went to other nodes by WireGuard", n.Name, packets)
	}
	return nil
}

func (m *manyNodes) explore() string {
	return fmt.Sprintf("export WEFT_SOCKET=%s # of %s; those of the others are beside it\n"+
		"weft check\n"+
		"weft attachment show --admin -o wide\n"+
		"weft stream leave web --admin --attachment w1-%s\n"+
		"weft attachment delete --admin w1-%s\n"+
		"WEFT_SOCKET=%s weft top", m.node(0).Dir, m.node(0).Name, nic, nic, m.node(0).Socket("lb-a-1-admin"))
}

// stop ends the processes, the last started first, and looks at the nodes before
// they go.
func (m *manyNodes) stop() error {
	if m.cluster == nil {
		return nil
	}
	var errs []error
	if len(m.failed) > 0 {
		m.cluster.WriteLogs(os.Stderr, 10)
	}
	for _, p := range slices.Backward(m.cluster.Processes()) {
		errs = append(errs, p.Stop())
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, m.cluster.Close())
	}
	for _, n := range m.cluster.Nodes {
		errs = append(errs, m.emptyNode(n))
	}
	return errors.Join(append(errs, m.cluster.Close())...)
}
