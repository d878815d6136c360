// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/app/endpoint"
	"github.com/weft-project/weft/internal/app/forwarder"
	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/balancer/lbtest"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/netns"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/traffic"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const serverPort = 5000

// machine is a host with everything real: nsmgr, registry, forwarder, agent,
// load balancers, and a router before them.
type machine struct {
	fixture
	router   *lbtest.Router
	host     string // namespace of the forwarder
	security mesh.Security
	replicas []*endpoint.Component
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	dir := t.TempDir()
	m := &machine{fixture: fixture{t: t}, router: lbtest.NewRouter(t), host: testutil.NetNS(t), security: mesh.Plain(time.Minute)}
	var err error
	if m.mesh, err = mesh.Start(context.Background(), mesh.Config{Dir: dir, Security: m.security}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, m.mesh.Stop()) })
	forward, err := forwarder.Start(context.Background(), forwarder.Config{
		Name: "forwarder-1", ConnectTo: m.mesh.URL(), ListenOn: m.url("fwd"), NetNS: m.host,
	}, forwarder.Deps{Security: m.security})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, forward.Stop()) })
	m.config = agent.Config{
		Node: "node-1", ConnectTo: m.mesh.URL(),
		Socket: filepath.Join(dir, "agent.sock"), AdminSocket: filepath.Join(dir, "admin.sock"), StateDir: inMemory(t),
	}
	m.start()
	t.Cleanup(func() {
		m.detachAll()
		check(t, m.Stop())
	})
	return m
}

// inMemory makes a directory where a node's state is: not on a disk.
func inMemory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "weft-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

func (m *machine) url(name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(filepath.Dir(m.mesh.URL().Path), name+".sock")}
}

// addReplica starts the next load balancer of trench-a.
func (m *machine) addReplica() *endpoint.Component {
	m.t.Helper()
	return m.addReplicaOf("trench-a")
}

// addReplicaOf starts the next load balancer, which knows two streams.
func (m *machine) addReplicaOf(trench string) *endpoint.Component {
	m.t.Helper()
	i := len(m.replicas) + 1
	config := endpoint.Config{
		Name: fmt.Sprintf("lb-%d", i), ConnectTo: m.mesh.URL(), ListenOn: m.url(fmt.Sprintf("lb-%d", i)),
		Trench: trench, Conduit: "lb",
		NetNS: m.router.AddReplica(), ExternalInterface: lbtest.External,
		CIDRPrefixes: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("172.16.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd16:%d::/64", i)),
		},
		TableSize: 4099,
	}
	balance := m.router.Config(i)
	balance.Streams = append(balance.Streams, balancer.Stream{Name: "dns"})
	balance.Flows = append(balance.Flows, balancer.Flow{Stream: "dns", Rule: classify.Rule{
		Name: "dns", Priority: 1000, VIPs: balance.VIPs, DestinationPorts: []classify.PortRange{{First: 53, Last: 53}},
	}})
	c, err := endpoint.Start(context.Background(), config, endpoint.Deps{Security: m.security, Balance: balance})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { check(m.t, c.Stop(context.Background())) })
	m.replicas = append(m.replicas, c)
	return c
}

// answer starts an ordinary server in the workload's namespace.
func (m *machine) answer(w workload) {
	m.t.Helper()
	err := netns.Do(w.path, func() error {
		server, err := traffic.Serve("server", serverPort)
		if err == nil {
			m.t.Cleanup(server.Close)
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// exchange talks to the VIPs from outside in every way.
func (m *machine) exchange() {
	m.t.Helper()
	dial := traffic.DialIn(func(fn func() error) error { return netns.Do(m.router.NetNS, fn) })
	for _, network := range []string{"tcp", "udp"} {
		for _, family := range []string{"4", "6"} {
			to := netip.MustParseAddrPort(lbtest.Remote(family, serverPort))
			tally := traffic.AskMany(dial, network, []netip.AddrPort{to}, 20, 4, 10*time.Second)
			if tally.Answered != tally.Asked || tally.Rewritten != 0 {
				m.t.Errorf("%s%s: %+v", network, family, tally)
			}
		}
	}
}

// hostLinks are the interfaces that the forwarder has made.
func (m *machine) hostLinks() []string {
	m.t.Helper()
	handle, err := nl.Open(m.host)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = handle.Close() }()
	links, err := handle.Links()
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, link := range links {
		if link.Kind == "veth" {
			names = append(names, link.Name)
		}
	}
	return names
}

// checkNoTrace fails when something of ours remains in a workload's namespace.
func (m *machine) checkNoTrace(w workload) {
	m.t.Helper()
	handle, err := nl.Open(w.path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = handle.Close() }()
	links, err := handle.Links()
	if err != nil || len(links) != 1 {
		m.t.Errorf("interfaces %v remain, %v", links, err)
	}
	rules, err := handle.Rules()
	if err != nil {
		m.t.Fatal(err)
	}
	for _, rule := range rules {
		if rule.From.IsValid() && rule.From.Bits() > 0 {
			m.t.Errorf("rule %+v remains", rule)
		}
	}
	for table := 7000; table < 7010; table++ {
		if routes, err := handle.Routes(table); err != nil || len(routes) != 0 {
			m.t.Errorf("routes %+v remain, %v", routes, err)
		}
	}
}

func hasTarget(stream, target string) func(balancer.Snapshot) bool {
	return func(s balancer.Snapshot) bool { return slices.Contains(s.Stream(stream).Targets, target) }
}

func waitFor(t testing.TB, c *endpoint.Component, cond func(balancer.Snapshot) bool) {
	t.Helper()
	if err := c.Balancer().Wait(within(t), cond); err != nil {
		t.Fatalf("replica stays %+v", c.Balancer().Snapshot())
	}
}

// comeAndGo: a second replica comes by itself, and goes.
func (m *machine) comeAndGo(client agentv1.AgentClient, before *agentv1.Interface) {
	m.t.Helper()
	two := m.addReplica()
	a := watchUntil(m.t, client, "a", func(a *agentv1.Attachment) bool {
		return len(a.GetStatus().GetLegs()) == 2 && condition(a, "Ready") == "TRUE AllLegs"
	})
	if a.GetStatus().GetInterface().GetIndex() != before.GetIndex() || len(a.GetStatus().GetInterface().GetAddresses()) != 2*len(before.GetAddresses()) {
		m.t.Errorf("interface is %v", a.GetStatus().GetInterface())
	}
	waitFor(m.t, two, hasTarget("web", "node-1/a"))
	m.exchange()
	check(m.t, two.Stop(within(m.t)))
	a = watchUntil(m.t, client, "a", func(a *agentv1.Attachment) bool { return len(a.GetStatus().GetLegs()) == 1 })
	if diff := cmp.Diff(before, a.GetStatus().GetInterface(), protocmp.Transform()); diff != "" {
		m.t.Errorf("the interface has changed: %s", diff)
	}
}

// TestEndToEnd is the life of a workload on a real data path.
func TestEndToEnd(t *testing.T) {
	m := newMachine(t)
	one := m.addReplica()
	w := m.workload()
	m.answer(w)
	client := agentv1.NewAgentClient(w)

	response, err := client.Attach(within(t), attachRequest("a", "web"))
	if err != nil {
		t.Fatal(err)
	}
	before := response.GetAttachment().GetStatus().GetInterface()
	if before.GetIndex() == 0 || before.GetMac() != attachment.MAC("node-1/a").String() ||
		!slices.Contains(before.GetVips(), "20.0.0.1/32") || len(before.GetAddresses()) == 0 {
		t.Errorf("interface is %v", before)
	}
	waitFor(t, one, hasTarget("web", "node-1/a"))
	m.exchange()

	// A wrong stream is an error that names it, and changes nothing.
	_, err = client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"nope"}, Wait: true})
	if status.Code(err) != codes.NotFound {
		t.Errorf("joining an unknown stream: %v", err)
	}
	// A second stream is joined on the same interface.
	updated, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"dns"}, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, updated.GetAttachment().GetStatus().GetInterface(), protocmp.Transform()); diff != "" {
		t.Errorf("the interface has changed: %s", diff)
	}
	waitFor(t, one, hasTarget("dns", "node-1/a"))
	m.exchange()

	m.wantFindings()
	m.comeAndGo(client, before)
	m.lose(w, before)
	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if n := len(one.Balancer().Snapshot().Targets); n != 0 {
		t.Errorf("%d targets remain", n)
	}
	if links := m.hostLinks(); len(links) != 0 {
		t.Errorf("interfaces %v remain", links)
	}
	m.checkNoTrace(w)
	m.checkNoState()
}

// TestEndToEndRestart: traffic flows over a restart of the agent, and a
// workload that ends while the agent is away is gone when it is back.
func TestEndToEndRestart(t *testing.T) {
	m := newMachine(t)
	one := m.addReplica()
	w, doomed := m.workload(), m.workload()
	m.answer(w)
	for name, x := range map[string]workload{"a": w, "b": doomed} {
		if _, err := agentv1.NewAgentClient(x).Attach(within(t), attachRequest(name, "web")); err != nil {
			t.Fatal(err)
		}
		waitFor(t, one, hasTarget("web", "node-1/"+name))
	}
	check(t, m.Stop())
	doomed.kill()
	waitFor(t, one, func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == 1 })
	m.exchange()
	m.start()
	client := agentv1.NewAgentClient(w)
	a := watchUntil(t, client, "a", func(a *agentv1.Attachment) bool { return condition(a, "Ready") == "TRUE AllLegs" })
	if a.GetStatus().GetInterface().GetMac() != attachment.MAC("node-1/a").String() {
		t.Errorf("interface is %v", a.GetStatus().GetInterface())
	}
	m.exchange()
	testutil.Eventually(t, 10*time.Second, "metrics of the one that is left", func() bool {
		got := gauges(t, m.metrics)
		return got["weft_agent_attachments"] == 1 && got["weft_agent_legs"] == 1
	})
	waitFor(t, one, func(s balancer.Snapshot) bool { return len(s.Targets) == 1 })
	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	// The endpoint forgets a target before its interface goes, so the killed
	// workload's may be a moment behind.
	testutil.Eventually(t, 10*time.Second, "no interface on the node", func() bool { return len(m.hostLinks()) == 0 })
}

// TestEndToEndMeshRestart: traffic flows over a restart of nsmgr and registry,
// and afterwards everything can be changed again.
func TestEndToEndMeshRestart(t *testing.T) {
	m := newMachine(t)
	one := m.addReplica()
	w := m.workload()
	m.answer(w)
	client := agentv1.NewAgentClient(w)
	if _, err := client.Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, one, hasTarget("web", "node-1/a"))
	check(t, m.mesh.Stop())
	m.exchange()
	var err error
	if m.mesh, err = mesh.Start(context.Background(), mesh.Config{ListenOn: []*url.URL{m.config.ConnectTo}, Security: m.security}); err != nil {
		t.Fatal(err)
	}
	m.exchange()
	updated, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"dns"}, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	if legs := updated.GetAttachment().GetStatus().GetLegs(); len(legs) != 1 {
		t.Errorf("legs are %v", legs)
	}
	waitFor(t, one, hasTarget("dns", "node-1/a"))
	m.exchange()
	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	m.checkNoTrace(w)
}

// TestEndToEndTwoTrenches: one workload in two networks with the same VIP.
func TestEndToEndTwoTrenches(t *testing.T) {
	m := newMachine(t)
	one, two := m.addReplica(), m.addReplicaOf("trench-b")
	w := m.workload()
	m.answer(w)
	client := agentv1.NewAgentClient(w)
	first := attachRequest("a", "web")
	second := attachRequest("b", "web")
	second.Spec.NetworkService, second.Spec.Interface = "lb.trench-b", "nsm-2"
	for _, request := range []*agentv1.AttachRequest{first, second} {
		response, err := client.Attach(within(t), request)
		if err != nil {
			t.Fatal(err)
		}
		if vips := response.GetAttachment().GetStatus().GetInterface().GetVips(); !slices.Contains(vips, "20.0.0.1/32") {
			t.Errorf("VIPs of %s are %v", request.GetSpec().GetName(), vips)
		}
	}
	waitFor(t, one, hasTarget("web", "node-1/a"))
	waitFor(t, two, hasTarget("web", "node-1/b"))
	m.exchange()
	for _, name := range []string{"a", "b"} {
		if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	m.checkNoTrace(w)
}

// TestEndToEndDeath: the namespace of a killed workload does not live on.
func TestEndToEndDeath(t *testing.T) {
	m := newMachine(t)
	one := m.addReplica()
	w := m.workload()
	if _, err := agentv1.NewAgentClient(w).Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, one, hasTarget("web", "node-1/a"))
	w.kill()
	began := time.Now()
	waitFor(t, one, func(s balancer.Snapshot) bool { return len(s.Stream("web").Targets) == 0 })
	t.Logf("out of the tables %v after the workload's end", time.Since(began))
	waitFor(t, one, func(s balancer.Snapshot) bool { return len(s.Targets) == 0 })
}
