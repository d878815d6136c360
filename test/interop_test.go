// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	sdkkernel "github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/testutil"
	agentv1 "github.com/weft-project/weft/pkg/api/agent/v1"
)

// TestUpstreamClient: a client made of the SDK's own elements, without our
// agent, becomes a target of our load balancer by the label of its streams.
func TestUpstreamClient(t *testing.T) {
	for name, elements := range map[string][]networkservice.NetworkServiceClient{
		"by path":       nil,
		"by descriptor": {sendfd.NewClient()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t)
			o := newSite(t, 1)
			r := s.addReplica(o, "trench-a", 1)
			o.use([]byte{1})
			w := s.addWorkload("w1")
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			security := mesh.Plain(time.Minute)
			nsc := client.NewClient(ctx, client.WithName("nsc-1"), client.WithClientURL(s.nsmgr()),
				client.WithDialOptions(security.DialOptions...), client.WithDialTimeout(patience),
				client.WithAdditionalFunctionality(elements...))
			mechanism := kernel.ToMechanism(kernel.New("file://" + w.netns))
			mechanism.SetInterfaceName(nic)
			conn, err := nsc.Request(within(t), &networkservice.NetworkServiceRequest{
				Connection: &networkservice.Connection{
					Id: "nsc-1-" + nic, NetworkService: "lb.trench-a", Labels: map[string]string{"streams": "web"},
				},
				MechanismPreferences: []*networkservice.Mechanism{mechanism.Mechanism},
			})
			must(t, err)
			if sources := conn.GetContext().GetIpContext().GetSrcIpAddrs(); !slices.Contains(sources, "20.0.0.1/32") {
				t.Errorf("addresses are %v, the VIP is missing", sources)
			}
			r.await(t, "one target", func(now balancer.Snapshot) bool { return len(now.Stream("web").Targets) == 1 })
			o.reach(webPort, w)

			l := o.load(destinations(webPort)...)
			_, err = nsc.Request(within(t), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			must(t, err)
			l.untouched("a refresh")

			_, err = nsc.Close(within(t), conn)
			must(t, err)
			r.await(t, "no target", func(now balancer.Snapshot) bool { return len(now.Targets) == 0 })
			w.pristine()
		})
	}
}

// TestUpstreamEndpoint: an endpoint made of the SDK's own elements serves an
// attachment of our agent.
func TestUpstreamEndpoint(t *testing.T) {
	s := newStack(t)
	inside := testutil.NetNS(t)
	stop := s.upstreamEndpoint("nse-1", "plain.trench-a", "10.9.0.0/24", inside)
	w := s.addWorkload("w1")
	response, err := w.agent.Attach(within(t), &agentv1.AttachRequest{Wait: true, Spec: &agentv1.AttachmentSpec{
		Name: "plain", NetworkService: "plain.trench-a", Interface: nic,
	}})
	must(t, err)
	addresses := response.GetAttachment().GetStatus().GetInterface().GetAddresses()
	if len(addresses) != 1 || !strings.HasPrefix(addresses[0], "10.9.0.") {
		t.Fatalf("addresses are %v", addresses)
	}
	address := netip.MustParsePrefix(addresses[0]).Addr().String()
	testutil.MustExchange(t, inside, "tcp", "", testutil.Echo(t, w.netns, address+":0"))

	_, err = w.agent.Detach(within(t), &agentv1.DetachRequest{Name: "plain"})
	must(t, err)
	w.pristine()
	if links := linksOf(t, inside); len(links) != 1 {
		t.Errorf("the endpoint is left with %v", links)
	}
	stop()
}

// upstreamEndpoint runs an endpoint of the SDK until the returned function is
// called, or cleanup.
func (s *stack) upstreamEndpoint(name, service, prefix, path string) (stop func()) {
	s.t.Helper()
	_, subnet, err := net.ParseCIDR(prefix)
	must(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	security := mesh.Plain(time.Minute)
	nse := endpoint.NewServer(ctx, security.TokenGenerator, endpoint.WithName(name), endpoint.WithAdditionalFunctionality(
		sendfd.NewServer(),
		point2pointipam.NewServer(subnet),
		mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
			kernel.MECHANISM: next.NewNetworkServiceServer(sdkkernel.NewServer(), inNetNS(path)),
		}),
	))
	server, err := mesh.Serve(security, []*url.URL{s.url(name)}, nse.Register)
	must(s.t, err)
	s.t.Cleanup(func() { check(s.t, server.Stop()) })
	_, err = mesh.NewNSClient(ctx, s.nsmgr(), security).Register(within(s.t), &registry.NetworkService{Name: service})
	must(s.t, err)
	endpoints := mesh.NewNSEClient(ctx, s.nsmgr(), security)
	registered, err := endpoints.Register(within(s.t), &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{service}, Url: s.url(name).String(),
	})
	must(s.t, err)
	return func() {
		_, err := endpoints.Unregister(within(s.t), registered)
		check(s.t, err)
	}
}

// inNetNS puts an endpoint's interfaces in a namespace of its own.
type inNetNS string

func (n inNetNS) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	kernel.ToMechanism(request.GetConnection().GetMechanism()).SetNetNSURL("file://" + string(n))
	return next.Server(ctx).Request(ctx, request)
}

func (n inNetNS) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
