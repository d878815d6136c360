// SPDX-License-Identifier: Apache-2.0

package vlan_test

import (
	"context"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/internal/external"
	"github.com/weft-project/weft/internal/log"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelWarn)
	os.Exit(m.Run())
}

const lifetime = time.Minute // of tokens, and so of connections

// manager stands for nsmgr and everything behind it.
type manager struct {
	mu       sync.Mutex
	requests []*networkservice.Connection
	closes   []*networkservice.Connection
	err      error
}

func (m *manager) Request(ctx context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	m.mu.Lock()
	m.requests = append(m.requests, r.GetConnection().Clone())
	err := m.err
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn := r.GetConnection()
	conn.Mechanism = r.GetMechanismPreferences()[0].Clone()
	conn.NetworkServiceEndpointName = "vlan-1"
	conn.Context.IpContext.SrcIpAddrs = []string{"10.9.0.5/24"}
	return next.Server(ctx).Request(ctx, r)
}

func (m *manager) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	m.mu.Lock()
	m.closes = append(m.closes, conn.Clone())
	err := m.err
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (m *manager) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *manager) last(t *testing.T) *networkservice.Connection {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.requests) == 0 {
		t.Fatal("nothing was requested")
	}
	return m.requests[len(m.requests)-1]
}

// idOf is the id that the client has given.
func idOf(conn *networkservice.Connection) string { return conn.GetPath().GetPathSegments()[0].GetId() }

func socket(dir, name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(dir, name+".sock")}
}

func newClient(t *testing.T) (*vlan.Client, *manager) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	m, security, at := &manager{}, mesh.Plain(lifetime), socket(t.TempDir(), "nsmgr")
	nse := endpoint.NewServer(ctx, security.TokenGenerator, endpoint.WithName("nsmgr"), endpoint.WithAdditionalFunctionality(m))
	server, err := mesh.Serve(security, []*url.URL{at}, nse.Register)
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop()) })
	c, err := vlan.NewClient("lb-1", at, security, false)
	must(t, err)
	t.Cleanup(func() { must(t, c.Stop()) })
	return c, m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var spec = external.Spec{Attractor: "attr", Replica: "lb-1", Type: "nsm-vlan", Name: "ext0", NetNS: "/run/netns/lb-1", Service: "vlan.attr.trench"}

func TestClientConnects(t *testing.T) {
	testutil.CheckLeaks(t)
	c, m := newClient(t)
	had := []netip.Prefix{netip.MustParsePrefix("10.9.0.7/24")}
	var id string
	for i, addresses := range [][]string{{"10.9.0.7/24"}, {"10.9.0.5/24"}} { // what it had, then what it was given
		again, err := c.Connect(timeout(t), spec, had)
		must(t, err)
		if left := time.Until(again); left > lifetime/3 || left < lifetime/6 {
			t.Errorf("again in %s, want a third of %s", left, lifetime)
		}
		conn := m.last(t)
		if i > 0 && idOf(conn) != id {
			t.Errorf("id %s, before %s", idOf(conn), id)
		}
		id = idOf(conn)
		if got := conn.GetContext().GetIpContext().GetSrcIpAddrs(); !slices.Equal(got, addresses) {
			t.Errorf("request %d has the addresses %v, want %v", i, got, addresses)
		}
		if owner, err := extracontext.Target(conn); err != nil || owner != "attr/lb-1" || conn.GetNetworkService() != spec.Service {
			t.Errorf("owner %q, %v, network service %s", owner, err, conn.GetNetworkService())
		}
	}
	for range 2 {
		must(t, c.Close(timeout(t), spec))
	}
	if first := m.closes[0]; idOf(first) != id {
		t.Errorf("closed %s, connected %s", idOf(first), id)
	} else if p := kernel.ToMechanism(first.GetMechanism()); p.GetInterfaceName() != "ext0" || p.GetNetNSURL() != "file:///run/netns/lb-1" {
		t.Errorf("closed with %v", first.GetMechanism())
	}
}

// Another process of the same replica continues the connection, another replica
// or interface has its own.
func TestClientIDs(t *testing.T) {
	testutil.CheckLeaks(t)
	ids := map[string]string{}
	for name, change := range map[string]func(*external.Spec){
		"same": func(*external.Spec) {}, "again": func(*external.Spec) {},
		"replica": func(s *external.Spec) { s.Replica = "lb-2" }, "attractor": func(s *external.Spec) { s.Attractor = "b" },
		"interface": func(s *external.Spec) { s.Name = "ext1" }, "service": func(s *external.Spec) { s.Service = "vlan.b" },
	} {
		c, m := newClient(t)
		changed := spec
		change(&changed)
		_, err := c.Connect(timeout(t), changed, nil)
		must(t, err)
		ids[name] = idOf(m.last(t))
	}
	for name, id := range ids {
		if same := id == ids["same"]; same != (name == "same" || name == "again") {
			t.Errorf("%s has the id %s: %v", name, id, ids)
		}
	}
}

// After an error the next request begins anew: the endpoint may be another one.
func TestClientNextFails(t *testing.T) {
	testutil.CheckLeaks(t)
	c, m := newClient(t)
	_, err := c.Connect(timeout(t), spec, nil)
	must(t, err)
	m.fail(status.Error(codes.ResourceExhausted, "no free address"))
	_, err = c.Connect(timeout(t), spec, nil)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "request network service vlan.attr.trench") {
		t.Errorf("%v", err)
	}
	m.fail(nil)
	_, err = c.Connect(timeout(t), spec, []netip.Prefix{netip.MustParsePrefix("10.9.0.7/24")})
	must(t, err)
	if conn := m.last(t); conn.GetNetworkServiceEndpointName() != "" || conn.GetContext().GetIpContext().GetSrcIpAddrs()[0] != "10.9.0.7/24" {
		t.Errorf("after an error it asks for %v", conn)
	}
}

func TestClientCloseFails(t *testing.T) {
	testutil.CheckLeaks(t)
	c, m := newClient(t)
	_, err := c.Connect(timeout(t), spec, nil)
	must(t, err)
	m.fail(status.Error(codes.Unavailable, "going down"))
	if err := c.Close(timeout(t), spec); err == nil || !strings.Contains(err.Error(), "close network service vlan.attr.trench") || !strings.Contains(err.Error(), "going down") {
		t.Errorf("%v", err)
	}
	must(t, c.Close(timeout(t), spec))
}

func TestClientWithoutManager(t *testing.T) {
	testutil.CheckLeaks(t)
	c, err := vlan.NewClient("lb-1", socket(t.TempDir(), "nobody"), mesh.Plain(lifetime), false)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Connect(ctx, spec, nil); err == nil {
		t.Error("connects with nobody")
	}
	must(t, c.Stop())
}

// Watch ends when the connection is gone.
func TestClientWatches(t *testing.T) {
	testutil.CheckLeaks(t)
	c, _ := newClient(t)
	_, err := c.Connect(timeout(t), spec, nil)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Watch(ctx, spec) }()
	must(t, c.Close(timeout(t), spec))
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("Watch goes on after Close")
	}
	cancel()
}
