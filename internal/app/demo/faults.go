// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/cluster"
	"github.com/weft-project/weft/internal/traffic"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const (
	away      = 300 * time.Millisecond // how long what was killed stays away
	detection = time.Second            // limit for noticing that a node is dead
)

// killProcesses is step 5.
func (m *manyNodes) killProcesses(ctx context.Context) error {
	m.step("Processes die under traffic")
	forwarder := m.node(1).Processes[cluster.Forwarder]
	m.say("-- kill -9 of the forwarder of %s, pid %d, which has traffic of both load balancers", m.node(1).Name, forwarder.PID())
	if err := m.survive(ctx, "the forwarder runs again", forwarder); err != nil {
		return err
	}
	all := m.cluster.Processes()
	m.say("-- kill -9 of all %d processes of Weft at once: registry, nsmgrs, forwarders, agents, load balancers", len(all))
	if err := m.survive(ctx, "all run again", all...); err != nil {
		return err
	}
	if err := m.allConnected(ctx); err != nil {
		return err
	}
	m.took(m.changeMoment, "all workloads are connected to all load balancers again")
	if err := m.oneLeavesAndReturns(ctx); err != nil {
		return err
	}
	for _, n := range m.cluster.Nodes {
		err := cli(n.NetNS, n.Dir, "check")
		m.check(err == nil, "%s: weft check finds no difference between what is wanted, recorded and there%s", n.Name, errorText(err))
	}
	return nil
}

// survive kills processes and starts them again; nothing may come of it.
func (m *manyNodes) survive(ctx context.Context, done string, processes ...*cluster.Process) error {
	before, err := m.identities()
	if err != nil {
		return err
	}
	m.begin()
	if err := cluster.Kill(processes...); err != nil {
		return err
	}
	timer := time.NewTimer(away)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := cluster.Restart(ctx, processes...); err != nil {
		return err
	}
	m.took(m.changeMoment, "%s", done)
	w, err := m.observe(ctx)
	if err != nil {
		return err
	}
	m.summary(w)
	m.check(w.Lost == 0 && w.MovedFlows == 0, "no flow moved, nothing lost")
	after, err := m.identities()
	if err != nil {
		return err
	}
	m.check(cmp.Equal(before, after), "every workload's interfaces keep their ifindex, MAC and addresses%s", prefixed(": ", cmp.Diff(before, after)))
	return nil
}

// identities of all interfaces of all workloads.
func (m *manyNodes) identities() (ids []cluster.Identity, err error) {
	for _, w := range m.workloads {
		ifaces, err := interfaces(w.NetNS)
		if err != nil {
			return nil, err
		}
		for _, iface := range ifaces {
			id, err := cluster.IdentityOf(w.NetNS, iface)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// allConnected waits until every agent says that all it is to attach is
// attached.
func (m *manyNodes) allConnected(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, n := range m.cluster.Nodes {
		for {
			missing, err := disconnected(ctx, n)
			if err == nil && missing == 0 {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("wait for the legs of %s: %d are not up: %w", n.Name, missing, ctx.Err())
			}
		}
	}
	return nil
}

// disconnected counts the legs that are missing on a node.
func disconnected(ctx context.Context, n *cluster.Node) (missing int, err error) {
	conn, err := grpc.NewClient("unix:"+n.Socket("admin"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	list, err := agentv1.NewAgentClient(conn).List(ctx, &agentv1.ListRequest{})
	for _, a := range list.GetAttachments() {
		want := firstReplicas
		if a.GetSpec().GetNetworkService() != "lb.trench-a" {
			want = 1
		}
		for _, leg := range a.GetStatus().GetLegs() {
			if leg.GetState() == agentv1.Leg_UP {
				want--
			}
		}
		missing += max(0, want)
	}
	return missing, err
}

// cutNode is step 6.
func (m *manyNodes) cutNode(ctx context.Context) error {
	victim, lost := m.node(2), m.workloads[2]
	m.step("A node dies: the link of " + victim.Name + ", where w3 is, goes down")
	m.begin()
	if err := victim.LinkDown(); err != nil {
		return err
	}
	if err := m.answering(ctx, m.workloads[0], m.workloads[1], m.workloads[3]); err != nil {
		return err
	}
	w, err := m.observe(ctx)
	if err != nil {
		return err
	}
	m.blackout(w, m.changeMoment, detection, lost.Name+" out of the tables of all: last packet lost", "the link went down")
	m.summary(w)
	m.say("-- the link comes up again")
	m.begin()
	if err := victim.LinkUp(); err != nil {
		return err
	}
	if err := m.inTables(ctx, len(m.workloads)); err != nil {
		return err
	}
	if w, err = m.observe(ctx); err != nil {
		return err
	}
	first, ok := w.First[lost.Name]
	m.check(ok, "%s: %s from the link to the first packet", lost.Name, millis(first.Sub(m.changeMoment)))
	m.summary(w)
	t := traffic.AskMany(m.b.Dial(), "udp", destinations(webPort), 100, 8, 2*time.Second)
	m.check(t.ByServer[lost.Name] == 100, "trench-b udp, by WireGuard: %d of 100 answered by %s%s", t.ByServer[lost.Name], lost.Name, errorText(t.FirstError))
	return nil
}
