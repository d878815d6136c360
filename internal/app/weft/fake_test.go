// SPDX-License-Identifier: Apache-2.0

package weft

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weft-project/weft/internal/announce"
	"github.com/weft-project/weft/internal/app/inspector"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/daemon"
	"github.com/weft-project/weft/internal/inspect"
	"github.com/weft-project/weft/internal/nodecheck"
	"github.com/weft-project/weft/internal/resource"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
	daemonv1 "github.com/weft-project/weft/pkg/api/daemon/v1"
)

var (
	epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	now   = epoch.Add(90 * time.Second)
)

// fakeNode is a node of which something may differ.
type fakeNode struct {
	findings []nodecheck.Finding
	err      error
}

func (f *fakeNode) Check(_ context.Context, repair bool) ([]nodecheck.Finding, error) {
	findings := slices.Clone(f.findings)
	for i := range findings {
		findings[i].Repaired = repair && findings[i].Kind == "address-missing"
	}
	return findings, f.err
}

// fakeAgent keeps attachments in memory and makes them ready at once.
type fakeAgent struct {
	agentv1.UnimplementedAgentServer
	mu          sync.Mutex
	attachments []*agentv1.Attachment
	lastAttach  *agentv1.AttachRequest
	lastUpdate  *agentv1.UpdateRequest
	lastList    *agentv1.ListRequest
	events      []*agentv1.WatchResponse // sent by Watch after the snapshot
}

func (f *fakeAgent) Attach(_ context.Context, req *agentv1.AttachRequest) (*agentv1.AttachResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastAttach = req
	spec := proto.CloneOf(req.GetSpec())
	if spec.GetNetworkService() == "lb.nowhere" {
		return nil, status.Error(codes.NotFound, `spec.network_service: no endpoint offers "lb.nowhere"`)
	}
	if spec.Interface == "" {
		spec.Interface = "nsm-1"
	}
	if spec.Name == "" {
		spec.Name = spec.Interface + "-7f3a"
	}
	at := ready(spec)
	f.attachments = append(f.attachments, at)
	return &agentv1.AttachResponse{Attachment: at}, nil
}

func (f *fakeAgent) Update(_ context.Context, req *agentv1.UpdateRequest) (*agentv1.UpdateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastUpdate = req
	for _, at := range f.attachments {
		if at.GetSpec().GetName() == req.GetName() {
			streams := append(at.Spec.Streams, req.GetJoinStreams()...)
			streams = slices.DeleteFunc(streams, func(s string) bool { return slices.Contains(req.GetLeaveStreams(), s) })
			slices.Sort(streams)
			at.Spec.Streams = slices.Compact(streams)
			if at.Spec.Labels == nil {
				at.Spec.Labels = map[string]string{}
			}
			maps.Copy(at.Spec.Labels, req.GetSetLabels())
			for _, key := range req.GetUnsetLabels() {
				delete(at.Spec.Labels, key)
			}
			return &agentv1.UpdateResponse{Attachment: at}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "name: there is no attachment %q", req.GetName())
}

func (f *fakeAgent) Detach(_ context.Context, req *agentv1.DetachRequest) (*agentv1.DetachResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, at := range f.attachments {
		if at.GetSpec().GetName() == req.GetName() {
			f.attachments = slices.Delete(f.attachments, i, i+1)
			return &agentv1.DetachResponse{}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "name: there is no attachment %q", req.GetName())
}

func (f *fakeAgent) List(_ context.Context, req *agentv1.ListRequest) (*agentv1.ListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastList = req
	resp := &agentv1.ListResponse{}
	for _, at := range f.attachments {
		if req.GetName() == "" || req.GetName() == at.GetSpec().GetName() {
			resp.Attachments = append(resp.Attachments, at)
		}
	}
	return resp, nil
}

func (f *fakeAgent) Watch(_ *agentv1.WatchRequest, stream agentv1.Agent_WatchServer) error {
	f.mu.Lock()
	messages := append([]*agentv1.WatchResponse{{Kind: agentv1.WatchResponse_SNAPSHOT, Attachments: f.attachments}}, f.events...)
	f.mu.Unlock()
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// ready returns an attachment as it is when all is well.
func ready(spec *agentv1.AttachmentSpec) *agentv1.Attachment {
	at := timestamppb.New(epoch)
	condition := func(t string) *agentv1.Condition {
		return &agentv1.Condition{Type: t, Status: agentv1.Condition_TRUE, Reason: t, LastTransition: at}
	}
	return &agentv1.Attachment{
		Spec: spec, Generation: 1, Created: at,
		Status: &agentv1.AttachmentStatus{
			ObservedGeneration: 1,
			Conditions:         []*agentv1.Condition{condition("Accepted"), condition("Programmed"), condition("Ready")},
			Interface: &agentv1.Interface{
				Name: spec.GetInterface(), Index: 7, Mac: "02:57:00:00:00:01", Mtu: 1500,
				Addresses: []string{"172.16.0.2/32", "172.16.1.2/32"}, Vips: []string{"20.0.0.1/32", "2000::1/128"},
			},
			Legs: []*agentv1.Leg{
				{Endpoint: "lb-a-1", State: agentv1.Leg_UP, ConnectionId: "c1", Since: at},
				{Endpoint: "lb-a-2", State: agentv1.Leg_UP, ConnectionId: "c2", Since: at},
			},
			Target: "node/" + spec.GetName(), Netns: "/run/netns/w1", NetnsId: "4:4026532001:17",
		},
	}
}

// failing is an attachment that does not come up.
func failing() *agentv1.Attachment {
	at := ready(&agentv1.AttachmentSpec{Name: "nsm-2-7f3a", NetworkService: "lb.trench-b", Interface: "nsm-2", Streams: []string{"web"}})
	st := at.GetStatus()
	st.Interface, st.LastError = nil, "lb-b-1: stream \"web\":\nmax-targets reached"
	st.Conditions[2].Status, st.Conditions[2].Reason = agentv1.Condition_FALSE, "LegsMissing"
	st.Legs[0].State, st.Legs[1].State = agentv1.Leg_RETRYING, agentv1.Leg_CONNECTING
	return at
}

// host is a daemon and an agent on one socket.
type host struct {
	node   *fakeNode
	t      *testing.T
	socket string
	agent  *fakeAgent
	store  *resource.Store
	// replicas are the load balancers, and looks how often statistics were
	// asked for: each look is a second after the one before.
	replicas  []inspect.Replica
	frontends []announce.State
	looks     atomic.Int64
	env       map[string]string
	stdin     string
	tty       bool
}

func newHost(t *testing.T) *host {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // runs last
	store, err := resource.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, socket: filepath.Join(t.TempDir(), "weft.sock"), agent: &fakeAgent{}, node: &fakeNode{}, store: store}
	h.env = map[string]string{"WEFT_SOCKET": h.socket}
	listener, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	agentv1.RegisterAgentServer(server, h.agent)
	nodecheck.Register(server, nodecheck.Part{Name: "forwarder", Checker: h.node})
	daemon.NewServer(store, daemon.Options{
		Started: epoch,
		Version: &daemonv1.VersionResponse{Version: "v1.2.3", Commit: "abc", GoVersion: "go1.26"},
		Components: func() []*daemonv1.Component {
			return []*daemonv1.Component{{Name: "forwarder", Ready: true, Message: "unix:///run/weft/forwarder.sock"}, {Name: "lb-a-1", Message: "no gateway"}}
		},
	}).Register(server)
	balancers := inspector.NewServer(func() []inspect.Replica { return h.replicas })
	balancers.Now = func() time.Time { return epoch.Add(time.Duration(h.looks.Add(1)) * time.Second) }
	balancers.Register(server)
	frontends := inspector.NewFrontendServer(func() []announce.State { return h.frontends })
	frontends.Now = func() time.Time { return epoch.Add(time.Hour) }
	frontends.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		// A test may end before its server has begun.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return h
}

type outcome struct {
	stdout, stderr string
	code           int
}

func (h *host) run(args ...string) outcome {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(h.stdin), Stdout: &stdout, Stderr: &stderr, Terminal: h.tty,
		Getenv: func(k string) string { return h.env[k] },
		Now:    func() time.Time { return now },
	}
	code := Run(h.t.Context(), env, args)
	return outcome{stdout.String(), stderr.String(), code}
}

// line splits a command line at blanks.
func (h *host) line(s string) outcome { h.t.Helper(); return h.run(strings.Fields(s)...) }

// must runs a command that has to succeed.
func (h *host) must(s string) string {
	h.t.Helper()
	o := h.line(s)
	if o.code != 0 {
		h.t.Fatalf("weft %s: exit code %d: %s", s, o.code, o.stderr)
	}
	return o.stdout
}
