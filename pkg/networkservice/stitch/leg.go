// SPDX-License-Identifier: Apache-2.0

package stitch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"

	"github.com/weft-project/weft/internal/stitch"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
	"github.com/weft-project/weft/pkg/networkservice/fd"
	"github.com/weft-project/weft/pkg/networkservice/kernelmech"
	"github.com/weft-project/weft/pkg/networkservice/tunnelmech"
)

// legOf turns an answered connection into a leg, as NSM's kernel elements
// understand its context: the client's interface gets the source addresses,
// routes to the destination addresses, the source routes, neighbours and
// policies; the endpoint's gets the opposite. A lease counts from when the request
// was sent. It returns every problem.
func legOf(ctx context.Context, conn *networkservice.Connection, sent time.Time) (stitch.Leg, error) {
	p := &parser{}
	ip := conn.GetContext().GetIpContext()
	ethernet := conn.GetContext().GetEthernetContext()
	src := p.prefixes("src_ip_addrs", ip.GetSrcIpAddrs())
	dst := p.prefixes("dst_ip_addrs", ip.GetDstIpAddrs())
	policies := p.policies(ip.GetPolicies())
	// A VIP, from which policies route, belongs to many targets: the endpoint
	// finds them by its own rules, not by a route.
	vips := extracontext.VIPsOf(ip)
	own := slices.DeleteFunc(slices.Clone(src), func(address netip.Prefix) bool { return vips.Contain(address.Addr()) })

	leg := stitch.Leg{
		ID:       conn.GetId(),
		Client:   p.side(ctx, "client", conn.GetMechanism(), tunnelmech.ClientTunnel(ctx), tunnelmech.ClientFormer(ctx)),
		Endpoint: p.side(ctx, "endpoint", kernelmech.Endpoint(ctx), tunnelmech.EndpointTunnel(ctx), tunnelmech.EndpointFormer(ctx)),
	}
	leg.Client.MAC = p.mac("ethernet_context.src_mac", ethernet.GetSrcMac())
	leg.Client.Addresses = src
	leg.Client.Routes = routes(linkRoutes(dst, src), p.routes("src_routes", ip.GetSrcRoutes()), dst)
	leg.Client.Neighbours = p.neighbours(ip.GetIpNeighbors())
	leg.Client.Policies = policies
	leg.Endpoint.MAC = p.mac("ethernet_context.dst_mac", ethernet.GetDstMac())
	leg.Endpoint.Addresses = dst
	leg.Endpoint.Routes = routes(linkRoutes(own, dst), p.routes("dst_routes", ip.GetDstRoutes()), own)
	leg.Client.MTU = int(conn.GetContext().GetMTU())
	leg.Endpoint.MTU = leg.Client.MTU

	var err error
	if lease, granted, err := extracontext.Lease(conn); err != nil {
		p.errs = append(p.errs, err)
	} else if granted { // the endpoint began to count after the request was sent
		leg.Client.Until = sent.Add(lease)
	}
	if leg.EndpointBringsUp, err = extracontext.EndpointBringsUp(conn); err != nil {
		p.errs = append(p.errs, err)
	}
	u := clienturlctx.ClientURL(ctx)
	leg.Local = u == nil || u.Scheme == "unix"
	return leg, errors.Join(p.errs...)
}

// linkRoutes returns routes to those addresses that are not in the subnet of an
// address of this side anyway.
func linkRoutes(addresses, here []netip.Prefix) []stitch.Route {
	var result []stitch.Route
	for _, address := range addresses {
		if !within(here, address.Addr()) {
			result = append(result, stitch.Route{Prefix: address.Masked()})
		}
	}
	return result
}

// routes joins link routes with others; those without a gateway that do not lead
// to the peer itself go by the peer's first address. Each prefix appears once.
func routes(result, others []stitch.Route, peer []netip.Prefix) []stitch.Route {
	for _, route := range others {
		if !route.Gateway.IsValid() && !within(peer, route.Prefix.Addr()) {
			for _, address := range peer {
				if address.Addr().Is4() == route.Prefix.Addr().Is4() {
					route.Gateway = address.Addr()
					break
				}
			}
		}
		if !slices.ContainsFunc(result, func(r stitch.Route) bool { return r.Prefix == route.Prefix }) {
			result = append(result, route)
		}
	}
	return result
}

func within(subnets []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(subnets, func(subnet netip.Prefix) bool { return subnet.Contains(address) })
}

// parser collects the problems of a connection.
type parser struct{ errs []error }

func (p *parser) bad(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

func (p *parser) side(ctx context.Context, name string, m *networkservice.Mechanism, tunnel *stitch.Tunnel, former []netip.Addr) stitch.Side {
	if tunnel != nil {
		return stitch.Side{Tunnel: tunnel, Former: former}
	}
	parameters := m.GetParameters()
	path, err := fd.Path(ctx, parameters[kernel.NetNSURL])
	if err != nil {
		p.bad("%s's mechanism parameter %s: %w", name, kernel.NetNSURL, err)
	}
	return stitch.Side{NetNS: path, Interface: parameters[kernel.InterfaceNameKey]}
}

// prefix parses an address with or without prefix length.
func prefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func (p *parser) prefixes(field string, texts []string) []netip.Prefix {
	var result []netip.Prefix
	for i, text := range texts {
		parsed, err := prefix(text)
		if err != nil {
			p.bad("ip_context.%s[%d] %q: want address/bits", field, i, text)
			continue
		}
		if !slices.Contains(result, parsed) {
			result = append(result, parsed)
		}
	}
	return result
}

func (p *parser) routes(field string, routes []*networkservice.Route) []stitch.Route {
	var result []stitch.Route
	for i, r := range routes {
		destination, err := prefix(r.GetPrefix())
		if err != nil {
			p.bad("ip_context.%s[%d].prefix %q: want address/bits", field, i, r.GetPrefix())
			continue
		}
		route := stitch.Route{Prefix: destination.Masked()}
		if r.GetNextHop() != "" {
			if route.Gateway, err = netip.ParseAddr(r.GetNextHop()); err != nil {
				p.bad("ip_context.%s[%d].nextHop %q: want an address", field, i, r.GetNextHop())
				continue
			}
		}
		result = append(result, route)
	}
	return result
}

func (p *parser) neighbours(neighbours []*networkservice.IpNeighbor) []stitch.Neighbour {
	var result []stitch.Neighbour
	for i, n := range neighbours {
		address, err := netip.ParseAddr(n.GetIp())
		if err != nil {
			p.bad("ip_context.ip_neighbors[%d].ip %q: want an address", i, n.GetIp())
			continue
		}
		mac := p.mac(fmt.Sprintf("ip_context.ip_neighbors[%d].hardware_address", i), n.GetHardwareAddress())
		result = append(result, stitch.Neighbour{IP: address, MAC: mac})
	}
	return result
}

func (p *parser) policies(policies []*networkservice.PolicyRoute) []stitch.Policy {
	var result []stitch.Policy
	for i, policy := range policies {
		from, err := prefix(policy.GetFrom())
		switch {
		case err != nil:
			p.bad("ip_context.policies[%d].from %q: want address/bits", i, policy.GetFrom())
			continue
		case policy.GetProto() != "" || policy.GetSrcPort() != "" || policy.GetDstPort() != "":
			p.bad("ip_context.policies[%d]: policies by protocol or port are not supported", i)
			continue
		}
		result = append(result, stitch.Policy{
			From:   from,
			Routes: p.routes(fmt.Sprintf("policies[%d].routes", i), policy.GetRoutes()),
		})
	}
	return result
}

func (p *parser) mac(field, text string) net.HardwareAddr {
	if text == "" {
		return nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		p.bad("%s %q: want six bytes in hexadecimal", field, text)
		return nil
	}
	return mac
}
