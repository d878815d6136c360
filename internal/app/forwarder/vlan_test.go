// SPDX-License-Identifier: Apache-2.0

package forwarder_test

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/groupipam"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weft-project/weft/internal/app/mesh"
	"github.com/weft-project/weft/internal/app/vlan"
	"github.com/weft-project/weft/internal/external"
	"github.com/weft-project/weft/internal/nl"
	"github.com/weft-project/weft/internal/testutil"
	"github.com/weft-project/weft/internal/trunk"
)

// uplink gives the forwarder's namespace a base interface eth0, on whose other end
// is another node.
func (w *world) uplink() *trunk.Trunk {
	w.t.Helper()
	far := testutil.NetNS(w.t)
	h := testutil.Handle(w.t, w.outside)
	eth, _, err := h.AddVeth(nl.Veth{Name: "eth0", PeerName: "eth0", PeerNetNS: far, PeerUp: true})
	w.check(err)
	w.check(h.SetUp(eth.Index))
	other, err := trunk.New(trunk.Options{NetNS: far})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.check(other.Close(false)) })
	return other
}

// gateway is a host in a VLAN on the other side.
func (w *world) gateway(other *trunk.Trunk, id int) (netNS string) {
	w.t.Helper()
	netNS = testutil.NetNS(w.t)
	err := other.Connect(context.Background(), trunk.Port{
		ID: "gateway", NetNS: netNS, Interface: "eth0", Base: "eth0", VLAN: id,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("fd09::1/64")},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return netNS
}

func (w *world) vlanEndpoint(id int) {
	w.t.Helper()
	c, err := vlan.Start(context.Background(), vlan.Config{
		Name: "vlan-1", Service: service, ConnectTo: w.manager, ListenOn: w.socket("vlan"), Base: "eth0", VLAN: id,
		IPv4: "10.9.0.2-10.9.0.9/24", IPv6: "fd09::2-fd09::9/64", File: filepath.Join(w.dir, "addresses"),
	}, mesh.Security{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.check(c.Stop()) })
}

func TestVLAN(t *testing.T) {
	testutil.CheckLeaks(t)
	for _, id := range []int{0, 100, 4094} {
		t.Run(strconv.Itoa(id), func(t *testing.T) {
			w := newWorld(t)
			gateway := w.gateway(w.uplink(), id)
			w.vlanEndpoint(id)
			c := w.client("frontend", passing())
			var conns []*networkservice.Connection
			used := map[string]bool{}
			for _, name := range []string{"lb-1", "lb-2"} {
				netNS := testutil.NetNS(t)
				conn := request(t, c, ask(name, netNS, "ext0"))
				conns = append(conns, conn)
				addresses := conn.GetContext().GetIpContext().GetSrcIpAddrs()
				if len(addresses) != 2 || used[addresses[0]] || !strings.HasSuffix(addresses[0], "/24") || !strings.HasSuffix(addresses[1], "/64") {
					t.Fatalf("addresses %v, used %v", addresses, used)
				}
				used[addresses[0]] = true
				for _, address := range []string{"10.9.0.1:0", "[fd09::1]:0"} {
					testutil.MustExchange(t, netNS, "tcp", "", testutil.Echo(t, gateway, address))
				}
				before := testutil.Link(t, netNS, "ext0")
				again := request(t, c, &networkservice.NetworkServiceRequest{Connection: conn})
				if after := testutil.Link(t, netNS, "ext0"); after.Index != before.Index || again.GetContext().GetIpContext().GetSrcIpAddrs()[0] != addresses[0] {
					t.Errorf("a refresh has changed %+v to %+v, %v", before, after, again.GetContext())
				}
			}
			for _, conn := range conns {
				closeConn(t, c, conn)
			}
			for _, l := range testutil.Links(t, w.outside) {
				if strings.HasPrefix(l.Alias, "weft:") {
					t.Errorf("%s is left", l.Name)
				}
			}
		})
	}
}

// A frontend's interface as the endpoint of an attractor asks for it: it survives a
// restart of whoever asked, and of the forwarder, and goes with Close.
func TestExternalByVLAN(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	gateway := w.gateway(w.uplink(), 100)
	w.vlanEndpoint(100)
	netNS := testutil.NetNS(t)
	spec := external.Spec{
		Attractor: "attr", Replica: "lb-1", Type: "nsm-vlan", Name: "ext0", NetNS: netNS, HostNetNS: w.outside, Base: "eth0", VLAN: 100, Service: service,
	}
	open := func() (*external.Interface, *vlan.Client) {
		c, err := vlan.NewClient("lb-1", w.manager, mesh.Plain(time.Minute), true)
		if err != nil {
			t.Fatal(err)
		}
		i, err := external.Open(context.Background(), spec, external.Deps{Mesh: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("last state: %+v", i.Status())
				w.check(i.Abandon())
			}
		})
		testutil.Eventually(t, 20*time.Second, "the interface is ready", func() bool { return i.Status().Ready })
		return i, c
	}
	i, c := open()
	before := i.Status()
	testutil.MustExchange(t, netNS, "tcp", "", testutil.Echo(t, gateway, "10.9.0.1:0"))
	w.check(i.Abandon())
	w.check(c.Stop())
	i, c = open()
	after := i.Status()
	if after.Index != before.Index || after.MAC.String() != before.MAC.String() || !slices.Equal(after.Addresses, before.Addresses) {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	w.check(testutil.Handle(t, netNS).DeleteLink(before.Index))
	testutil.Eventually(t, 20*time.Second, "the interface is made again", func() bool {
		now := i.Status()
		return now.Ready && now.Index != before.Index && now.MAC.String() == before.MAC.String()
	})
	testutil.MustExchange(t, netNS, "tcp", "", testutil.Echo(t, gateway, "[fd09::1]:0"))
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	w.check(i.Close(ctx))
	w.check(c.Stop())
	for _, l := range testutil.Links(t, netNS) {
		if l.Name == "ext0" {
			t.Error("ext0 is left")
		}
	}
}

// upstreamVLAN is the mechanism element of upstream's endpoints.
type upstreamVLAN struct{}

func (upstreamVLAN) Request(ctx context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := r.GetConnection()
	vlanmech.ToMechanism(conn.GetMechanism()).SetVlanID(100)
	conn.Labels = map[string]string{"via": "gw1"}
	return next.Server(ctx).Request(ctx, r)
}

func (upstreamVLAN) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

// An endpoint made of the SDK's elements, which knows no base interface but a label.
func TestUpstreamVLANEndpoint(t *testing.T) {
	testutil.CheckLeaks(t)
	w := newWorld(t)
	gateway := w.gateway(w.uplink(), 100)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	_, subnet, _ := net.ParseCIDR("10.9.0.64/26")
	security := mesh.Plain(time.Minute)
	nse := endpoint.NewServer(ctx, security.TokenGenerator, endpoint.WithName("nse"), endpoint.WithAdditionalFunctionality(
		mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{vlanmech.MECHANISM: upstreamVLAN{}}),
		groupipam.NewServer([][]*net.IPNet{{subnet}}),
	))
	server, err := mesh.Serve(security, urls(w.socket("nse")), nse.Register)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.check(server.Stop()) })
	w.register("nse")
	c := w.client("frontend", passing())
	netNS := testutil.NetNS(t)
	r := ask("lb-1", netNS, "ext0")
	conn := request(t, c, r)
	if m := conn.GetMechanism(); m.GetCls() != cls.LOCAL {
		t.Errorf("the client's mechanism is %v", m)
	}
	h := testutil.Handle(t, netNS)
	w.check(h.AddAddress(testutil.Link(t, netNS, "ext0").Index, netip.MustParsePrefix("10.9.0.77/24")))
	testutil.MustExchange(t, netNS, "tcp", "10.9.0.77:0", testutil.Echo(t, gateway, "10.9.0.1:0"))
	closeConn(t, c, conn)
}
