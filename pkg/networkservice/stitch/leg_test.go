// SPDX-License-Identifier: Apache-2.0

package stitch_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	node "github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

func prefixes(texts ...string) []netip.Prefix {
	var result []netip.Prefix
	for _, text := range texts {
		result = append(result, netip.MustParsePrefix(text))
	}
	return result
}

func mac(text string) net.HardwareAddr {
	parsed, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return parsed
}

func route(prefix, gateway string) node.Route {
	r := node.Route{Prefix: netip.MustParsePrefix(prefix)}
	if gateway != "" {
		r.Gateway = netip.MustParseAddr(gateway)
	}
	return r
}

// A load balancer's answer.
func TestLegOfALoadBalancer(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{
			IpContext: &networkservice.IPContext{
				SrcIpAddrs: []string{"172.16.0.5/32", "fd00::5/128", "20.0.0.1/32", "2000::1/128", "20.0.0.16/32", "20.0.0.17/32"},
				DstIpAddrs: []string{"172.16.0.1/32", "fd00::1/128"},
				SrcRoutes:  []*networkservice.Route{{Prefix: "172.16.0.1/32"}, {Prefix: "fd00::1/128"}},
				DstRoutes:  []*networkservice.Route{{Prefix: "172.16.0.5/32"}, {Prefix: "fd00::5/128"}},
				IpNeighbors: []*networkservice.IpNeighbor{
					{Ip: "169.254.87.1", HardwareAddress: "02:57:45:46:54:01"}, {Ip: "172.16.0.1", HardwareAddress: "02:00:00:00:00:0b"},
				},
				Policies: []*networkservice.PolicyRoute{
					{From: "20.0.0.1/32", Routes: []*networkservice.Route{{Prefix: "0.0.0.0/0", NextHop: "169.254.87.1"}}},
					{From: "2000::1", Routes: []*networkservice.Route{{Prefix: "::/0", NextHop: "fe80::57:4546:5401"}}},
					{From: "20.0.0.16/31", Routes: []*networkservice.Route{{Prefix: "0.0.0.0/0", NextHop: "169.254.87.1"}}},
				},
			},
			EthernetContext: &networkservice.EthernetContext{SrcMac: "02:00:00:00:00:0a", DstMac: "02:00:00:00:00:0b"},
			MTU:             1400,
		}
		extracontext.SetEndpointBringsUp(conn)
	}
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	want := node.Leg{
		ID: "a", EndpointBringsUp: true, Local: true,
		Client: node.Side{
			NetNS: "/run/netns/workload", Interface: "nsm-1", MAC: mac("02:00:00:00:00:0a"), MTU: 1400,
			Addresses: prefixes("172.16.0.5/32", "fd00::5/128", "20.0.0.1/32", "2000::1/128", "20.0.0.16/32", "20.0.0.17/32"),
			Routes:    []node.Route{route("172.16.0.1/32", ""), route("fd00::1/128", "")},
			Neighbours: []node.Neighbour{
				{IP: netip.MustParseAddr("169.254.87.1"), MAC: mac("02:57:45:46:54:01")},
				{IP: netip.MustParseAddr("172.16.0.1"), MAC: mac("02:00:00:00:00:0b")},
			},
			Policies: []node.Policy{
				{From: netip.MustParsePrefix("20.0.0.1/32"), Routes: []node.Route{route("0.0.0.0/0", "169.254.87.1")}},
				{From: netip.MustParsePrefix("2000::1/128"), Routes: []node.Route{route("::/0", "fe80::57:4546:5401")}},
				{From: netip.MustParsePrefix("20.0.0.16/31"), Routes: []node.Route{route("0.0.0.0/0", "169.254.87.1")}},
			},
		},
		Endpoint: node.Side{
			NetNS: "/run/netns/endpoint", Interface: "leg-1", MAC: mac("02:00:00:00:00:0b"), MTU: 1400,
			Addresses: prefixes("172.16.0.1/32", "fd00::1/128"),
			// Not to the VIPs: those belong to many targets.
			Routes: []node.Route{route("172.16.0.5/32", ""), route("fd00::5/128", "")},
		},
	}
	wantLeg(t, want, f.node.leg)
}

func wantLeg(t *testing.T, want, got node.Leg) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

// The answer of an endpoint made of the SDK's elements, with a subnet and a
// network behind it.
func TestLegOfAnUpstreamEndpoint(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{
			SrcIpAddrs: []string{"10.0.0.2/24", "10.0.0.2/24"},
			DstIpAddrs: []string{"10.0.0.1/24", "192.168.9.1/32"},
			SrcRoutes:  []*networkservice.Route{{Prefix: "10.99.1.7/16"}, {Prefix: "10.98.0.0/16", NextHop: "10.0.0.9"}},
			DstRoutes:  []*networkservice.Route{{Prefix: "10.50.0.0/16"}},
		}}
	}
	if _, err := f.server.Request(t.Context(), ask()); err != nil {
		t.Fatal(err)
	}
	want := node.Leg{
		ID: "a", Local: true,
		Client: node.Side{
			NetNS: "/run/netns/workload", Interface: "nsm-1", Addresses: prefixes("10.0.0.2/24"),
			Routes: []node.Route{route("192.168.9.1/32", ""), route("10.99.0.0/16", "10.0.0.1"), route("10.98.0.0/16", "10.0.0.9")},
		},
		Endpoint: node.Side{
			NetNS: "/run/netns/endpoint", Interface: "leg-1", Addresses: prefixes("10.0.0.1/24", "192.168.9.1/32"),
			Routes: []node.Route{route("10.50.0.0/16", "10.0.0.2")},
		},
	}
	wantLeg(t, want, f.node.leg)
}

func TestMalformedAnswerNamesEveryField(t *testing.T) {
	f := newFixture()
	f.endpoint.fill = func(conn *networkservice.Connection) {
		conn.Context = &networkservice.ConnectionContext{
			IpContext: &networkservice.IPContext{
				SrcIpAddrs:  []string{"10.0.0.2/33"},
				DstIpAddrs:  []string{"10.0.0.1/24", "x"},
				SrcRoutes:   []*networkservice.Route{{Prefix: "y"}},
				DstRoutes:   []*networkservice.Route{{Prefix: "10.0.0.0/8", NextHop: "z"}},
				IpNeighbors: []*networkservice.IpNeighbor{{Ip: "n"}, {Ip: "10.0.0.3", HardwareAddress: "02:00"}},
				Policies: []*networkservice.PolicyRoute{
					{From: "f"}, {From: "10.0.0.2", Proto: "6"}, {From: "10.0.0.2", Routes: []*networkservice.Route{{Prefix: "p"}}},
				},
			},
			EthernetContext: &networkservice.EthernetContext{SrcMac: "s", DstMac: "02:00:00:00:00:00:00:01"},
			ExtraContext:    map[string]string{extracontext.LinkKey: "forwarder"},
		}
	}
	request := ask()
	request.Connection.Mechanism.Parameters[kernel.NetNSURL] = "inode://1/2"
	_, err := f.server.Request(t.Context(), request)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("code of %v", err)
	}
	for _, want := range []string{
		`ip_context.src_ip_addrs[0] "10.0.0.2/33"`, `ip_context.dst_ip_addrs[1] "x"`, `ip_context.src_routes[0].prefix "y"`,
		`ip_context.dst_routes[0].nextHop "z"`, `ip_context.ip_neighbors[0].ip "n"`, `ip_context.ip_neighbors[1].hardware_address "02:00"`,
		`ip_context.policies[0].from "f"`, `ip_context.policies[1]: policies by protocol or port`, `ip_context.policies[2].routes[0].prefix "p"`,
		`ethernet_context.src_mac "s"`, `ethernet_context.dst_mac "02:00:00:00:00:00:00:01"`,
		`extra context weft.dev/link: "forwarder"`, `client's mechanism parameter inodeURL: "inode://1/2": no descriptor came with the request`,
	} {
		if !strings.Contains(status.Convert(err).Message(), want) {
			t.Errorf("missing %s in:\n%v", want, err)
		}
	}
	f.want(t, "request", "close")
}
