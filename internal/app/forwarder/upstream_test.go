// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/nsmgr"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/testutil"
)

// upstream is the credentials that upstream's components use, without TLS.
func upstream() mesh.Security {
	security := mesh.Plain(time.Minute)
	creds := grpcfd.TransportCredentials(insecure.NewCredentials())
	security.DialOptions = append(security.DialOptions, grpc.WithTransportCredentials(creds))
	security.ServerOptions = append(security.ServerOptions, grpc.Creds(creds))
	return security
}

// newUpstreamWorld is a node with the SDK's nsmgr and registry as upstream's
// commands run them: apart, and passing sockets and namespaces as descriptors.
func newUpstreamWorld(t testing.TB) *world {
	t.Helper()
	testutil.Require(t, "bpf", "netns")
	w := &world{t: t, dir: t.TempDir(), outside: testutil.NetNS(t), passSocket: true}
	security := upstream()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)

	store := memory.NewServer(ctx, security.TokenGenerator, memory.WithDialOptions(security.DialOptions...))
	storeServer, err := mesh.Serve(security, urls(w.socket("registry")), store.Register)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.check(storeServer.Stop()) })

	manager := nsmgr.NewServer(ctx, security.TokenGenerator,
		nsmgr.WithName("nsmgr-1"), nsmgr.WithURL(w.socket("nsmgr").String()), nsmgr.WithRegistry(w.socket("registry")),
		nsmgr.WithDialOptions(security.DialOptions...), nsmgr.WithDialTimeout(5*time.Second))
	managerServer, err := mesh.Serve(security, urls(w.socket("nsmgr")), manager.Register)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.check(managerServer.Stop()) })
	w.manager = w.socket("nsmgr")
	w.startForwarder()
	return w
}

func TestUpstreamNsmgrAndRegistry(t *testing.T) {
	w := newUpstreamWorld(t)
	endpointNS, _ := w.endpoint("nse-1", "10.9.0.0/24")
	workload := testutil.NetNS(t)
	c := w.client("nsc", passing())
	for i := range 5 {
		conn := request(t, c, ask(fmt.Sprintf("c%d", i), workload, "nsm-1"))
		_, dst := addresses(t, conn)
		testutil.MustExchange(t, workload, "tcp", "", testutil.Echo(t, endpointNS, dst+":0"))
		conn = request(t, c, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		closeConn(t, c, conn)
		for _, ns := range []string{workload, endpointNS, w.outside} {
			if got := links(t, ns); len(got) != 1 {
				t.Errorf("in %s: %v", ns, got)
			}
		}
	}
}
