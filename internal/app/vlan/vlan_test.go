// SPDX-License-Identifier: Apache-2.0

package vlan_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/internal/testutil"
)

func config(dir string, connectTo *url.URL) vlan.Config {
	return vlan.Config{
		Name: "vlan-1", Service: vlan.Service("attr", "trench"), ConnectTo: connectTo, ListenOn: socket(dir, "vlan"),
		Base: "eth1", VLAN: 100, IPv4: "10.9.0.2-10.9.0.9/24", IPv6: "fd09::/64",
	}
}

// registered counts the endpoints of the service.
func registered(t *testing.T, connectTo *url.URL) (n int) {
	t.Helper()
	cc, err := mesh.Dial(connectTo, mesh.Security{})
	must(t, err)
	defer func() { _ = cc.Close() }()
	stream, err := registry.NewNetworkServiceEndpointRegistryClient(cc).Find(timeout(t), &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"vlan.attr.trench"}},
	})
	must(t, err)
	return len(registry.ReadNetworkServiceEndpointList(stream))
}

func TestEndpoint(t *testing.T) {
	testutil.CheckLeaks(t)
	dir := t.TempDir()
	m, err := mesh.Start(context.Background(), mesh.Config{Dir: dir})
	must(t, err)
	defer func() { must(t, m.Stop()) }()
	for range 2 { // it can come back
		c, err := vlan.Start(context.Background(), config(dir, m.URL()), mesh.Security{})
		must(t, err)
		if n := registered(t, m.URL()); n != 1 {
			t.Errorf("%d endpoints are registered", n)
		}
		client, err := vlan.NewClient("lb-1", socket(dir, "vlan"), mesh.Plain(lifetime), false)
		must(t, err)
		if _, err := client.Connect(timeout(t), spec, nil); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "want VLAN") {
			t.Errorf("without a forwarder: %v", err)
		}
		must(t, client.Stop())
		must(t, c.Stop())
		if n := registered(t, m.URL()); n != 0 {
			t.Errorf("%d endpoints are registered after Stop", n)
		}
	}
}

// A start that fails says why and leaves nothing.
func TestEndpointDoesNotStart(t *testing.T) {
	testutil.CheckLeaks(t)
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	must(t, os.WriteFile(bad, []byte("{"), 0o600))
	for name, tc := range map[string]struct {
		change func(*vlan.Config)
		want   string
	}{
		"prefix":   {func(c *vlan.Config) { c.IPv4 = "10.9.0.9-10.9.0.2/24" }, `start VLAN endpoint vlan-1: prefix "10.9.0.9-10.9.0.2/24"`},
		"file":     {func(c *vlan.Config) { c.File = bad }, "read who holds which address: " + bad},
		"socket":   {func(c *vlan.Config) { c.ListenOn = socket(bad, "vlan") }, "bad/vlan.sock"},
		"no nsmgr": {func(*vlan.Config) {}, "register network service vlan.attr.trench"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			c := config(dir, socket(dir, "nobody"))
			tc.change(&c)
			_, err := vlan.Start(ctx, c, mesh.Security{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if _, err := os.Stat(c.ListenOn.Path); err == nil {
				t.Error("the socket remains")
			}
		})
	}
}
