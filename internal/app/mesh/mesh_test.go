// SPDX-License-Identifier: Apache-2.0

package mesh_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/log"
)

func TestMain(m *testing.M) {
	log.Setup(os.Stderr, log.LevelInfo)
	goleak.VerifyTestMain(m)
}

func start(t *testing.T) *mesh.Mesh {
	t.Helper()
	m, err := mesh.Start(t.Context(), mesh.Config{Dir: t.TempDir()})
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

func TestRegisterFindWatchUnregister(t *testing.T) {
	m := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	services := mesh.NewNSClient(ctx, m.URL(), mesh.Security{})
	if _, err := services.Register(ctx, &registry.NetworkService{Name: "lb.trench-a", Payload: "ETHERNET"}); err != nil {
		t.Fatal(err)
	}
	endpoints := mesh.NewNSEClient(ctx, m.URL(), mesh.Security{})
	watch, err := mesh.NewNSEClient(ctx, m.URL(), mesh.Security{}).Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"lb.trench-a"}},
		Watch:                  true,
	})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "lb-1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	nse, err := endpoints.Register(ctx, &registry.NetworkServiceEndpoint{
		Name: "lb-1", Url: "unix://" + socket.Addr().String(), NetworkServiceNames: []string{"lb.trench-a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	added, err := watch.Recv()
	if err != nil || added.GetDeleted() || added.GetNetworkServiceEndpoint().GetName() != "lb-1" ||
		!strings.HasSuffix(added.GetNetworkServiceEndpoint().GetUrl(), "/lb-1.sock") {
		t.Fatalf("watch: %v, %v", added, err)
	}
	if _, err := endpoints.Unregister(ctx, nse); err != nil {
		t.Fatal(err)
	}
	for {
		event, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if event.GetDeleted() {
			break
		}
	}
}

func TestHealth(t *testing.T) {
	m := start(t)
	conn, err := grpc.NewClient(m.URL().String(), mesh.Plain(time.Minute).DialOptions...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(),
		&grpc_health_v1.HealthCheckRequest{Service: "networkservice.NetworkService"})
	if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	u := []*url.URL{{Scheme: "unix", Path: path}}
	first, err := mesh.Start(t.Context(), mesh.Config{ListenOn: u})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Stop() }()
	if _, err := mesh.Start(t.Context(), mesh.Config{ListenOn: u}); err == nil || !strings.Contains(err.Error(), "another process serves there") {
		t.Errorf("second start: %v", err)
	}
}

func TestSocketOfAKilledProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	m, err := mesh.Start(t.Context(), mesh.Config{ListenOn: []*url.URL{{Scheme: "unix", Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", info.Mode(), err)
	}
	if err := m.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("socket remains after Stop: %v", err)
	}
}

func TestValidate(t *testing.T) {
	err := mesh.Config{DialTimeout: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "Dir and ListenOn") || !strings.Contains(err.Error(), "DialTimeout") {
		t.Errorf("problems: %v", err)
	}
	for _, u := range []*url.URL{{Scheme: "http", Host: "x"}, {Scheme: "tcp", Host: "256.0.0.1:1"}} {
		if _, err := mesh.Start(t.Context(), mesh.Config{ListenOn: []*url.URL{u}}); err == nil {
			t.Errorf("listens on %s", u)
		}
	}
}
