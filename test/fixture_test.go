// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/deployments/examples"
	"github.com/weft-project/weft/internal/app/up"
	"github.com/weft-project/weft/internal/app/weft"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/cli"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

const (
	nic      = "nsm-1" // the interface that a workload gains first
	external = "ext0"  // a replica's interface to the outside
	webPort  = 5000    // of stream web in the example's flows
	apiPort  = 6000    // of stream api
	patience = 10 * time.Second
	// tableSize is smaller than the default, for the tests to be quick; with
	// five targets at most it is plenty.
	tableSize = 4099
)

var vips = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("2000::1")}

// stack is a host with everything on it, as `weft up` runs it, and with the
// resources of the demo.
type stack struct {
	*up.Stack
	t        *testing.T
	dir      string // of the sockets
	host     string // namespace of the forwarder's ends of interfaces
	admin    agentv1.AgentClient
	replicas []*replica
}

func newStack(t *testing.T, change ...func(*up.Config)) *stack {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	testutil.CheckLeaks(t)
	// The path of a unix socket is short, t.TempDir's is not.
	dir, err := os.MkdirTemp("", "weft-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stack{t: t, dir: dir, host: testutil.NetNS(t)}
	config := up.Config{
		Node: "node-1", RunDir: dir, StateDir: filepath.Join(dir, "state"), NetNS: s.host, SecretsDir: filepath.Join(dir, "secrets"),
	}
	for _, fn := range change {
		fn(&config)
	}
	s.Stack, err = up.Start(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		check(t, s.Stop())
		if links := linksOf(t, s.host); len(links) > 1 {
			t.Errorf("the forwarder left %v", links)
		}
	})
	s.admin = agentv1.NewAgentClient(s.dial(s.AdminSocket()))
	s.apply(string(examples.Demo))
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (s *stack) dial(socket string) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(s.t, err)
	s.t.Cleanup(func() { check(s.t, conn.Close()) })
	return conn
}

func (s *stack) nsmgr() *url.URL { return s.url("nsmgr") }

func (s *stack) url(name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(s.dir, name+".sock")}
}

// answer is what a command said.
type answer struct {
	code     int
	out, err string
}

// weft runs a command against a socket.
func (s *stack) weft(socket, stdin string, args ...string) answer {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := &cli.Env{
		Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Now: time.Now,
		Getenv: func(key string) string { return map[string]string{"WEFT_SOCKET": socket}[key] },
	}
	code := weft.Run(context.Background(), env, args)
	return answer{code, out.String(), errs.String()}
}

// apply runs `weft apply` with manifests, which must be good.
func (s *stack) apply(manifests string) {
	s.t.Helper()
	if a := s.weft(s.AdminSocket(), manifests, "apply", "-f", "-"); a.code != cli.ExitOK {
		s.t.Fatalf("weft apply: %s", a.err)
	}
}

// remove runs `weft delete`.
func (s *stack) remove(args ...string) {
	s.t.Helper()
	if a := s.weft(s.AdminSocket(), "", append([]string{"delete"}, args...)...); a.code != cli.ExitOK {
		s.t.Fatalf("weft delete %s: %s", strings.Join(args, " "), a.err)
	}
}

// replica is a load balancer with its namespace.
type replica struct {
	*up.Endpoint
	name, netns string
	number      byte
}

// addReplica starts a load balancer behind a site's router. The router does not
// use it before it is told to.
func (s *stack) addReplica(o *site, trench string, number byte) *replica {
	s.t.Helper()
	r := &replica{name: fmt.Sprintf("lb-%d-%d", o.number, number), netns: o.connect(number), number: number}
	var err error
	r.Endpoint, err = s.StartReplica(context.Background(), up.Replica{
		Name: r.name, Trench: trench, Conduit: "lb", NetNS: r.netns, Interface: external,
		Prefixes: o.legPrefixes(number), TableSize: tableSize,
	})
	must(s.t, err)
	s.t.Cleanup(func() { check(s.t, r.Stop()) })
	s.replicas = append(s.replicas, r)
	return r
}

func (s *stack) stopReplica(r *replica) {
	s.t.Helper()
	s.replicas = slices.DeleteFunc(s.replicas, func(other *replica) bool { return other == r })
	must(s.t, r.Stop())
}

// await waits until a replica's state satisfies the condition.
func (r *replica) await(t testing.TB, what string, ok func(balancer.Snapshot) bool) {
	t.Helper()
	if err := r.Component().Balancer().Wait(within(t), ok); err != nil {
		t.Fatalf("%s: wait for %s: %v; state %+v", r.name, what, err, r.Component().Balancer().Snapshot())
	}
}

// awaitTargets waits until every replica of a trench balances a stream over
// exactly these workloads.
func (s *stack) awaitTargets(trench, stream string, workloads ...*workload) {
	s.t.Helper()
	want := []string{}
	for _, w := range workloads {
		want = append(want, w.target(trench))
	}
	slices.Sort(want)
	for _, r := range s.replicas {
		if r.Trench() == trench {
			r.await(s.t, fmt.Sprintf("targets %v of stream %s", want, stream), func(now balancer.Snapshot) bool {
				state := now.Stream(stream)
				return !state.Pending && slices.Equal(state.Targets, want)
			})
		}
	}
}

// withHandle calls fn with a netlink handle in a namespace.
func withHandle(t testing.TB, path string, fn func(*nl.Handle)) {
	t.Helper()
	h, err := nl.Open(path)
	must(t, err)
	defer func() { check(t, h.Close()) }()
	fn(h)
}

// linksOf returns the names of a namespace's interfaces.
func linksOf(t testing.TB, path string) (names []string) {
	t.Helper()
	withHandle(t, path, func(h *nl.Handle) {
		links, err := h.Links()
		must(t, err)
		for _, l := range links {
			names = append(names, l.Name)
		}
	})
	return names
}
