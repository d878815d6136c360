// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/endpoint"
	nsmgr "github.com/weft-project/weft/internal/app/mesh/uplink"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const replicaChild = "e2e-replica"

// runReplica is weft-endpoint. The environment comes as NAME=value before the
// arguments.
func runReplica(args []string) error {
	environment := map[string]string{}
	for len(args) > 0 && strings.HasPrefix(args[0], "NSM_") {
		name, value, _ := strings.Cut(args[0], "=")
		environment[name], args = value, args[1:]
	}
	fmt.Print(ready)
	status := endpoint.Run(context.Background(), args, func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}, os.Stderr)
	return fmt.Errorf("weft-endpoint ended with status %d", status)
}

// startReplicaProcess runs a load balancer as a process of its own, by the
// command weft-endpoint, and returns what kills it.
func (s *stack) startReplicaProcess(o *site, number byte, manifests string) (kill func()) {
	s.t.Helper()
	return s.replicaProcess(o, o.connect(number), number, manifests)
}

// replicaProcess is startReplicaProcess in a namespace that is there, with more
// arguments.
func (s *stack) replicaProcess(o *site, path string, number byte, manifests string, more ...string) (kill func()) {
	s.t.Helper()
	name := fmt.Sprintf("lb-process-%d", number)
	file := filepath.Join(s.dir, name+".yaml")
	must(s.t, os.WriteFile(file, []byte(manifests), 0o600))
	var prefixes []string
	for _, p := range o.legPrefixes(number) {
		prefixes = append(prefixes, p.String())
	}
	return startChild(s.t, path, replicaChild, append([]string{
		"NSM_NAME=" + name, "NSM_CONNECT_TO=" + s.nsmgr().String(), "NSM_LISTEN_ON=" + s.url(name).String(),
		"NSM_SERVICE_NAMES=lb.trench-a", "NSM_CIDR_PREFIX=" + strings.Join(prefixes, ","),
		"--pass-socket=false", "--resources", file, "--interface", external, "--table-size", fmt.Sprint(tableSize),
	}, more...)...)
}

// TestReplicaKilled: a load balancer that is killed with its namespace, without
// a word to anybody, takes only the flows along that the router goes on sending
// to it; the others lose nothing, and nothing of it stays in the workloads'
// way.
func TestReplicaKilled(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	kill := s.startReplicaProcess(o, 2, string(examples.Demo))
	all := s.addWorkloads("w1", "w2")
	for _, w := range all {
		w.attach("trench-a", "web")
	}
	for _, w := range all {
		watch(t, w.agent, w.attachment("trench-a"), "two legs", func(a *agentv1.Attachment) bool {
			legs := a.GetStatus().GetLegs()
			return len(legs) == 2 && legs[0].GetState() == agentv1.Leg_UP && legs[1].GetState() == agentv1.Leg_UP
		})
	}
	o.use([]byte{2})
	testutil.Eventually(t, patience, "the process to balance", func() bool {
		return traffic.AskMany(o.dial(), "udp", destinations(webPort), 8, 8, pollTimeout).Answered == 8
	})
	o.reach(webPort, all...)

	// Half of the load on each: by one VIP, for the test to know which.
	o.use([]byte{1}, vips[0])
	o.use([]byte{2}, vips[1])
	safe := o.load(netip.AddrPortFrom(vips[0], webPort))
	kill()
	safe.untouched("the death of the other load balancer")
	o.use([]byte{1})
	o.reach(webPort, all...)
	safe.untouched("the router's change")

	// What remains is as if it had never been there, but for the addresses of
	// its legs until they expire.
	third := s.addReplica(o, "trench-a", 3)
	s.awaitTargets("trench-a", "web", all...)
	o.use([]byte{third.number})
	o.reach(webPort, all...)
	// The legs of the dead one are given up when the nsmgr has been there for long
	// enough to know that it is gone.
	ctx, cancel := context.WithTimeout(t.Context(), nsmgr.DefaultGrace+patience)
	defer cancel()
	for _, w := range all {
		_, err := w.agent.Detach(ctx, &agentv1.DetachRequest{Name: w.attachment("trench-a")})
		must(t, err)
	}
}

// TestLinkDown: a workload that takes its interface down leaves the tables
// within 100 ms, and is back with all its routes when it takes it up again.
func TestLinkDown(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	all := s.addWorkloads("w1", "w2", "w3")
	for _, w := range all {
		w.attach("trench-a", "web")
	}
	s.awaitTargets("trench-a", "web", all...)
	before := s.settled(all...)
	l := o.load(destinations(webPort)...)
	start := time.Now()
	withHandle(t, all[2].netns, func(h *nl.Handle) {
		link, err := h.LinkByName(nic)
		must(t, err)
		must(t, h.SetDown(link.Index))
		s.awaitTargets("trench-a", "web", all[:2]...)
		w, _ := l.end()
		if blackout := w.LastLost.Sub(start); blackout > 100*time.Millisecond {
			t.Errorf("the last packet was sent to the workload %s after its link went down", blackout)
		}
		l.moved("link down")
		must(t, h.SetUp(link.Index))
	})
	s.awaitTargets("trench-a", "web", all...)
	o.reach(webPort, all...)
	l.moved("link up")
	s.unchanged(before, "link down and up", all...)
}

// TestWorkloadKilled: a workload that dies with its namespace leaves the tables
// and the agent.
func TestWorkloadKilled(t *testing.T) {
	s := newStack(t)
	o := newSite(t, 1)
	s.addReplica(o, "trench-a", 1)
	s.addReplica(o, "trench-a", 2)
	o.use([]byte{1, 2})
	all := s.addWorkloads("w1", "w2", "w3")
	for _, w := range all {
		w.attach("trench-a", "web")
	}
	s.awaitTargets("trench-a", "web", all...)
	l := o.load(destinations(webPort)...)
	start := time.Now()
	all[2].die()
	s.awaitTargets("trench-a", "web", all[:2]...)
	w, _ := l.end()
	if blackout := w.LastLost.Sub(start); blackout > 100*time.Millisecond {
		t.Errorf("the last packet was sent to the workload %s after it was killed", blackout)
	}
	l.moved("killed")
	testutil.Eventually(t, patience, "the agent to forget the workload", func() bool {
		list, err := s.admin.List(within(t), &agentv1.ListRequest{})
		must(t, err)
		return len(list.GetAttachments()) == 2
	})
	o.reach(webPort, all[:2]...)
}
