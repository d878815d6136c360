// SPDX-License-Identifier: Apache-2.0

package mesh_test

import (
	"testing"

	"github.com/networkservicemesh/api/pkg/api/registry"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-project/weft/internal/app/mesh"
)

// An nsmgr that has just started does not say that an endpoint is gone: it may
// not have registered again yet. What there is of a service it tells.
func TestStartedNSMgrCallsNothingGone(t *testing.T) {
	m := start(t)
	conn, err := mesh.Dial(m.URL(), mesh.Plain(mesh.DefaultTokenLifetime))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := registry.NewNetworkServiceEndpointRegistryClient(conn)
	for name, test := range map[string]struct {
		nse  *registry.NetworkServiceEndpoint
		want codes.Code
	}{
		"by name":    {&registry.NetworkServiceEndpoint{Name: "lb-1"}, codes.Unavailable},
		"by service": {&registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"lb.trench-a"}}, codes.Unknown}, // io.EOF
	} {
		stream, err := client.Find(t.Context(), &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: test.nse})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
