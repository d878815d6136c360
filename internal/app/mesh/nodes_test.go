// SPDX-License-Identifier: Apache-2.0

package mesh_test

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"google.golang.org/grpc"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/pkg/networkservice/nselabel"
)

// address returns a loopback address whose port was free a moment ago.
func address(t *testing.T) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return &url.URL{Scheme: "tcp", Host: l.Addr().String()}
}

func startRegistry(t *testing.T, u *url.URL) (stop func()) {
	t.Helper()
	r, err := mesh.StartRegistry(t.Context(), mesh.RegistryConfig{ListenOn: []*url.URL{u}})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func startNode(t *testing.T, registry *url.URL) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Start(t.Context(), mesh.Config{Registry: registry, ListenOn: []*url.URL{
		{Scheme: "unix", Path: filepath.Join(t.TempDir(), "nsmgr.sock")}, {Scheme: "tcp", Host: "127.0.0.1:0"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// process is an endpoint's socket with a gRPC server.
func process(t *testing.T, path string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	stop = func() { s.Stop(); <-done }
	t.Cleanup(stop)
	return stop
}

func endpointOf(name, path string, labels map[string]string) *registry.NetworkServiceEndpoint {
	return &registry.NetworkServiceEndpoint{
		Name: name, Url: "unix://" + path, NetworkServiceNames: []string{"lb.trench-a"},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"lb.trench-a": {Labels: labels}},
	}
}

// find returns the URL of an endpoint at a node, "" when it is not known there.
func find(t *testing.T, m *mesh.Mesh, name string) string {
	t.Helper()
	conn, err := mesh.Dial(m.URL(), mesh.Security{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := registry.NewNetworkServiceEndpointRegistryClient(conn).Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, nse := range registry.ReadNetworkServiceEndpointList(stream) {
		return nse.GetUrl()
	}
	return ""
}

func TestNodesShareARegistry(t *testing.T) {
	shared := address(t)
	stop := startRegistry(t, shared)
	a, b := startNode(t, shared), startNode(t, shared)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	endpoints := mesh.NewNSEClient(ctx, a.URL(), mesh.Security{})
	register := func(nse *registry.NetworkServiceEndpoint) *registry.NetworkServiceEndpoint {
		process(t, strings.TrimPrefix(nse.GetUrl(), "unix://"))
		got, err := endpoints.Register(ctx, nse)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	eventually := func(what string, m *mesh.Mesh, name, want string) {
		t.Helper()
		testutil.Eventually(t, 20*time.Second, what, func() bool { return find(t, m, name) == want })
	}
	services := mesh.NewNSClient(ctx, a.URL(), mesh.Security{})
	if _, err := services.Register(ctx, &registry.NetworkService{Name: "lb.trench-a", Payload: "ETHERNET"}); err != nil {
		t.Fatal(err)
	}
	one := register(endpointOf("lb-1", filepath.Join(dir, "1.sock"), nil))
	forwarder := endpointOf("forwarder-a", filepath.Join(dir, "f.sock"), nil)
	forwarder.NetworkServiceNames, forwarder.NetworkServiceLabels = []string{"forwarder"}, nil
	register(forwarder)
	nsmgrA := a.URLs()[1].String()
	eventually("B to know A's endpoint by A's nsmgr", b, "lb-1", nsmgrA)
	if got := find(t, a, "lb-1"); got != "unix://"+filepath.Join(dir, "1.sock") {
		t.Errorf("A has its own endpoint at %q", got)
	}
	if got := find(t, b, "forwarder-a"); got != "" {
		t.Errorf("B knows A's forwarder at %q", got)
	}

	stop()
	begin := time.Now()
	register(endpointOf("lb-2", filepath.Join(dir, "2.sock"), nil))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("without the registry an endpoint took %s to register on its node", took)
	}
	if find(t, b, "lb-1") != nsmgrA || find(t, a, "lb-2") == "" {
		t.Error("without the registry, what was known is known no more")
	}

	stop = startRegistry(t, shared)
	eventually("B to know what happened without the registry", b, "lb-2", nsmgrA)
	if _, err := endpoints.Unregister(ctx, one); err != nil {
		t.Fatal(err)
	}
	eventually("B to forget A's endpoint", b, "lb-1", "")
	if find(t, b, "lb-2") != nsmgrA {
		t.Error("B has forgotten the other endpoint")
	}
	stop()
}

func TestEndedEndpointIsForgotten(t *testing.T) {
	shared := address(t)
	startRegistry(t, shared)
	a, b := startNode(t, shared), startNode(t, shared)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	endpoints := mesh.NewNSEClient(ctx, a.URL(), mesh.Security{})
	paths := map[string]string{}
	stops := map[string]func(){}
	for name, labels := range map[string]map[string]string{"short": nil, "long": {nselabel.GraceLabel: "1h"}} {
		paths[name] = filepath.Join(dir, name)
		stops[name] = process(t, paths[name])
		if _, err := endpoints.Register(ctx, endpointOf(name, paths[name], labels)); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, 20*time.Second, name+" at B", func() bool { return find(t, b, name) != "" })
	}
	// A restart that is quick enough goes unnoticed.
	stops["long"]()
	stops["short"]()
	testutil.Eventually(t, 20*time.Second, "the ended endpoint to be forgotten", func() bool {
		return find(t, a, "short") == "" && find(t, b, "short") == ""
	})
	if find(t, a, "long") == "" || find(t, b, "long") == "" {
		t.Error("the endpoint that may be away for an hour is forgotten")
	}
}
