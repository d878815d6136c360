// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/app/agent"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// TestNSMgrs is the life of an attachment with an nsmgr that gets namespaces as
// descriptors: ours and upstream's.
func TestNSMgrs(t *testing.T) {
	testutil.Require(t, "netns")
	for name, start := range map[string]func(context.Context, testing.TB) controlPlane{"ours": startOwn, "upstream": startUpstream} {
		t.Run(name, func(t *testing.T) {
			testutil.CheckLeaks(t)
			f := newFixtureOn(t, start)
			f.endpoint("lb-1", "lb.trench-a")
			check(t, f.Stop())
			f.config.SendFD = true
			f.start()
			live(t, f)
		})
	}
}

// live attaches, updates, detaches, restarts and kills.
func live(t *testing.T, f *fixture) {
	w := f.workload()
	client := agentv1.NewAgentClient(w)
	if _, err := client.Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	_, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"nope"}, Wait: true})
	if status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), `unknown stream "nope"`) {
		t.Errorf("joining an unknown stream: %v", err)
	}
	if _, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"dns"}, Wait: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lb-1 node-1/a [dns web]"}, f.forwarder.legs()); diff != "" {
		t.Error(diff)
	}
	for _, leg := range f.forwarder.all() {
		if leg.namespace != w.id {
			t.Errorf("the forwarder got namespace %+v, want the caller's %+v", leg.namespace, w.id)
		}
	}
	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if legs := f.forwarder.legs(); len(legs) != 0 {
		t.Errorf("%v remain", legs)
	}

	if _, err := client.Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	check(t, f.Stop())
	f.start()
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	watchUntil(t, admin, "a", func(a *agentv1.Attachment) bool { return condition(a, "Ready") == "TRUE AllLegs" })
	if diff := cmp.Diff([]string{"lb-1 node-1/a [web]"}, f.forwarder.legs()); diff != "" {
		t.Error(diff)
	}
	w.kill()
	for {
		list, err := admin.List(within(t), &agentv1.ListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.GetAttachments()) == 0 {
			break
		}
	}
	if legs := f.forwarder.legs(); len(legs) != 0 {
		t.Errorf("%v remain", legs)
	}
	f.checkNoState()
}

func TestAgentRestart(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	w, doomed := f.workload(), f.workload()
	before, err := agentv1.NewAgentClient(w).Attach(within(t), attachRequest("a", "web"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agentv1.NewAgentClient(doomed).Attach(within(t), attachRequest("b", "web")); err != nil {
		t.Fatal(err)
	}
	f.forwarder.mu.Lock()
	ids := slices.Sorted(func(yield func(string) bool) {
		for id := range f.forwarder.connections {
			if !yield(id) {
				return
			}
		}
	})
	f.forwarder.mu.Unlock()
	check(t, f.Stop())
	doomed.kill()
	f.start()
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	after := watchUntil(t, admin, "a", func(a *agentv1.Attachment) bool { return condition(a, "Ready") == "TRUE AllLegs" })
	if before.GetAttachment().GetStatus().GetLegs()[0].GetConnectionId() != after.GetStatus().GetLegs()[0].GetConnectionId() {
		t.Error("the connection has another id")
	}
	list, err := admin.List(within(t), &agentv1.ListRequest{})
	for err == nil && len(list.GetAttachments()) > 1 {
		list, err = admin.List(within(t), &agentv1.ListRequest{})
	}
	if diff := cmp.Diff([]string{"lb-1 node-1/a [web]"}, f.forwarder.legs()); err != nil || diff != "" {
		t.Error(err, diff)
	}
	f.forwarder.mu.Lock()
	for id := range f.forwarder.connections {
		if !slices.Contains(ids, id) {
			t.Errorf("the forwarder sees another connection than before the restart: %s", id)
		}
	}
	f.forwarder.mu.Unlock()
	if _, err := admin.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	f.checkNoState()
}

func TestMeshComesBack(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	f.forwarder.set(func(f *fakeForwarder) { f.unavailable = status.Error(codes.Unavailable, "endpoint is away") })
	client := agentv1.NewAgentClient(f.workload())
	request := attachRequest("a", "web")
	request.Wait = false
	if _, err := client.Attach(within(t), request); err != nil {
		t.Fatal(err)
	}
	a := watchUntil(t, client, "a", func(a *agentv1.Attachment) bool { return a.GetStatus().GetLastError() != "" })
	if condition(a, "Ready") != "FALSE Failed" || !strings.Contains(a.GetStatus().GetLastError(), "endpoint lb-1: endpoint is away") {
		t.Errorf("attachment is %v", a)
	}
	f.forwarder.set(func(f *fakeForwarder) { f.unavailable = nil })
	watchUntil(t, client, "a", func(a *agentv1.Attachment) bool { return condition(a, "Ready") == "TRUE AllLegs" })
}

func TestCorruptStateStopsTheStart(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	check(t, f.Stop())
	path := filepath.Join(stored(t, f.config.StateDir), "a.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Start(t.Context(), f.config, agent.Deps{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	check(t, os.Remove(path))
	f.start()
}

func TestContextEndsTheAgent(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	check(t, f.Stop())
	ctx, cancel := context.WithCancel(context.Background())
	component, err := agent.Start(ctx, f.config, agent.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	check(t, component.Stop())
	if _, err := os.Stat(f.config.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket remains: %v", err)
	}
	f.start()
}

func TestStartFails(t *testing.T) {
	testutil.CheckLeaks(t)
	if _, err := agent.Start(t.Context(), agent.Config{StateDir: "x", Socket: "/s", AdminSocket: "/s"}, agent.Deps{}); err == nil ||
		!strings.Contains(err.Error(), "ConnectTo") || !strings.Contains(err.Error(), "StateDir") || !strings.Contains(err.Error(), "the same") {
		t.Errorf("error is %v", err)
	}
}
