// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-project/weft/internal/attachment"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func attachRequest(name string, streams ...string) *agentv1.AttachRequest {
	return &agentv1.AttachRequest{
		Spec: &agentv1.AttachmentSpec{Name: name, NetworkService: "lb.trench-a", Interface: "nsm-1", Streams: streams},
		Wait: true,
	}
}

func condition(a *agentv1.Attachment, kind string) string {
	for _, c := range a.GetStatus().GetConditions() {
		if c.GetType() == kind {
			return c.GetStatus().String() + " " + c.GetReason()
		}
	}
	return ""
}

// watchUntil reads changes of one attachment until it is as wanted.
func watchUntil(t testing.TB, client agentv1.AgentClient, name string, done func(*agentv1.Attachment) bool) *agentv1.Attachment {
	t.Helper()
	stream, err := client.Watch(within(t), &agentv1.WatchRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	var last *agentv1.Attachment
	for {
		response, err := stream.Recv()
		if err != nil {
			t.Fatalf("%v; last seen: %v", err, last)
		}
		for _, a := range response.GetAttachments() {
			if last = a; done(a) {
				return a
			}
		}
	}
}

func TestWorkloadAttachesItself(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	f.endpoint("lb-2", "lb.trench-a")
	w := f.workload()
	client := agentv1.NewAgentClient(w)

	response, err := client.Attach(within(t), attachRequest("a", "web"))
	if err != nil {
		t.Fatal(err)
	}
	a := response.GetAttachment()
	if condition(a, "Ready") != "TRUE AllLegs" || len(a.GetStatus().GetLegs()) != 2 || a.GetStatus().GetTarget() != "node-1/a" {
		t.Errorf("attachment is %v", a)
	}
	if diff := cmp.Diff([]string{"lb-1 node-1/a [web]", "lb-2 node-1/a [web]"}, f.forwarder.legs()); diff != "" {
		t.Error(diff)
	}
	for _, leg := range f.forwarder.all() {
		if leg.namespace != w.id {
			t.Errorf("the forwarder got namespace %+v, want the caller's %+v", leg.namespace, w.id)
		}
		if leg.iface != "nsm-1" || leg.mac != attachment.MAC("node-1/a").String() {
			t.Errorf("leg is %+v", leg)
		}
	}

	if _, err := client.Update(within(t), &agentv1.UpdateRequest{Name: "a", JoinStreams: []string{"dns"}, Wait: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lb-1 node-1/a [dns web]", "lb-2 node-1/a [dns web]"}, f.forwarder.legs()); diff != "" {
		t.Error(diff)
	}

	f.endpoint("lb-3", "lb.trench-a")
	watchUntil(t, client, "a", func(a *agentv1.Attachment) bool {
		return len(a.GetStatus().GetLegs()) == 3 && condition(a, "Ready") == "TRUE AllLegs"
	})
	f.unregister("lb-1")
	watchUntil(t, client, "a", func(a *agentv1.Attachment) bool { return len(a.GetStatus().GetLegs()) == 2 })
	if diff := cmp.Diff([]string{"lb-2 node-1/a [dns web]", "lb-3 node-1/a [dns web]"}, f.forwarder.legs()); diff != "" {
		t.Error(diff)
	}

	if _, err := client.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if legs := f.forwarder.legs(); len(legs) != 0 {
		t.Errorf("%v remain", legs)
	}
	f.checkNoState()
}

// stored returns where the attachments of a state directory are.
func stored(t testing.TB, stateDir string) string {
	t.Helper()
	files, err := attachment.NewFiles(filepath.Join(stateDir, "attachments"))
	if err != nil {
		t.Fatal(err)
	}
	return files.Dir()
}

// checkNoState fails when files of attachments or links to namespaces remain.
func (f *fixture) checkNoState() {
	f.t.Helper()
	for _, dir := range []string{stored(f.t, f.config.StateDir), filepath.Join(f.config.StateDir, "netns")} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 0 {
			f.t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
}

func TestCallersSeeOnlyTheirOwn(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	one, two := f.workload(), f.workload()
	if _, err := agentv1.NewAgentClient(one).Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	stranger := agentv1.NewAgentClient(two)
	if list, err := stranger.List(within(t), &agentv1.ListRequest{}); err != nil || len(list.GetAttachments()) != 0 {
		t.Errorf("a stranger sees %v, %v", list, err)
	}
	if _, err := stranger.Detach(within(t), &agentv1.DetachRequest{Name: "a"}); status.Code(err) != codes.NotFound {
		t.Errorf("a stranger's detach: %v", err)
	}
	request := attachRequest("b", "web")
	request.Spec.Netns = one.path
	if _, err := stranger.Attach(within(t), request); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "netns") {
		t.Errorf("attaching somebody else: %v", err)
	}
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	if list, err := admin.List(within(t), &agentv1.ListRequest{}); err != nil || len(list.GetAttachments()) != 1 {
		t.Errorf("the administrator sees %v, %v", list, err)
	}
	if list, err := admin.List(within(t), &agentv1.ListRequest{Netns: two.path}); err != nil || len(list.GetAttachments()) != 0 {
		t.Errorf("the administrator sees in the other namespace %v, %v", list, err)
	}
	for path, mode := range map[string]os.FileMode{f.Socket(): 0o666, f.AdminSocket(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
}

func TestBadRequests(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	w := f.workload()
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	tests := map[string]struct {
		change func(*agentv1.AttachRequest)
		code   codes.Code
		text   string
	}{
		"no spec":           {func(r *agentv1.AttachRequest) { r.Spec = nil }, codes.InvalidArgument, "spec"},
		"no namespace":      {func(r *agentv1.AttachRequest) { r.Spec.Netns = "" }, codes.InvalidArgument, "netns"},
		"relative path":     {func(r *agentv1.AttachRequest) { r.Spec.Netns = "x" }, codes.InvalidArgument, "netns"},
		"no such namespace": {func(r *agentv1.AttachRequest) { r.Spec.Netns = "/run/netns/none" }, codes.NotFound, "netns"},
		"not a namespace":   {func(r *agentv1.AttachRequest) { r.Spec.Netns = "/dev/null" }, codes.NotFound, "netns"},
		"unknown stream":    {func(r *agentv1.AttachRequest) { r.Spec.Streams = []string{"nope"} }, codes.NotFound, `unknown stream "nope"`},
		"unknown network":   {func(r *agentv1.AttachRequest) { r.Spec.NetworkService = "lb.nope" }, codes.NotFound, `network_service: "lb.nope"`},
		"taken interface":   {func(r *agentv1.AttachRequest) { r.Spec.Interface = "lo" }, codes.AlreadyExists, `interface: the namespace has an interface "lo"`},
		"long interface":    {func(r *agentv1.AttachRequest) { r.Spec.Interface = "0123456789abcdef" }, codes.InvalidArgument, "interface"},
		"bad address":       {func(r *agentv1.AttachRequest) { r.Spec.Addresses = []string{"10.0.0.256"} }, codes.InvalidArgument, `addresses: "10.0.0.256"`},
		"overlap":           {func(r *agentv1.AttachRequest) { r.Spec.Addresses = []string{"10.0.0.1/8", "10.0.0.2"} }, codes.InvalidArgument, "overlaps"},
		"bad timeout":       {func(r *agentv1.AttachRequest) { r.WaitTimeout = durationpb.New(-1) }, codes.InvalidArgument, "wait_timeout"},
	}
	for name, test := range tests {
		request := attachRequest("a", "web")
		request.Spec.Netns, request.WaitTimeout = w.path, durationpb.New(time.Second)
		test.change(request)
		if _, err := admin.Attach(within(t), request); status.Code(err) != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, request := range map[string]*agentv1.UpdateRequest{
		"unknown name": {Name: "none", JoinStreams: []string{"web"}},
		"no name":      {},
	} {
		if _, err := admin.Update(within(t), request); status.Code(err) != codes.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	request := attachRequest("a", "web")
	request.Spec.Netns, request.Spec.Labels = w.path, map[string]string{"weight": "3.5"}
	if _, err := admin.Attach(within(t), request); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `labels[weight]: "3.5"`) {
		t.Errorf("weight 3.5: %v", err)
	}
	if legs := f.forwarder.legs(); len(legs) != 0 {
		t.Errorf("%v remain", legs)
	}
	f.checkNoState()
}

func TestDeadWorkloadIsDetached(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	f.endpoint("lb-1", "lb.trench-a")
	w := f.workload()
	if _, err := agentv1.NewAgentClient(w).Attach(within(t), attachRequest("a", "web")); err != nil {
		t.Fatal(err)
	}
	admin := agentv1.NewAgentClient(f.dial(f.AdminSocket()))
	stream, err := admin.Watch(within(t), &agentv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetKind() != agentv1.WatchResponse_SNAPSHOT || len(first.GetAttachments()) != 1 {
		t.Fatalf("first message is %v, %v", first, err)
	}
	w.kill()
	began := time.Now()
	for {
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if response.GetKind() == agentv1.WatchResponse_REMOVED {
			break
		}
	}
	t.Logf("detached %v after the workload's end", time.Since(began))
	if legs := f.forwarder.legs(); len(legs) != 0 {
		t.Errorf("%v remain", legs)
	}
	f.checkNoState()
}

func TestHealthAndReflection(t *testing.T) {
	testutil.Require(t, "netns")
	testutil.CheckLeaks(t)
	f := newFixture(t)
	for path, services := range map[string][]string{
		f.Socket():      {"ambassador.v1.Tap", "weft.agent.v1.Agent"},
		f.AdminSocket(): {"weft.agent.v1.Agent", "weft.node.v1.Node"},
	} {
		conn := f.dial(path)
		for _, service := range append([]string{""}, services...) {
			got, err := grpc_health_v1.NewHealthClient(conn).Check(within(t), &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("health of %q: %v, %v", service, got, err)
			}
		}
		stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&reflectionv1.ServerReflectionRequest{
			MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
		}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, service := range answer.GetListServicesResponse().GetService() {
			if !strings.HasPrefix(service.GetName(), "grpc.") {
				names = append(names, service.GetName())
			}
		}
		if diff := cmp.Diff(services, names); diff != "" {
			t.Error(diff)
		}
	}
}
