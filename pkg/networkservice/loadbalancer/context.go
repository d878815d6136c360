// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/pkg/networkservice/extracontext"
)

// rangeLimit bounds the addresses that a VIP prefix puts on a workload's
// interface one by one.
const rangeLimit = 256

// wish is what a client asks for.
type wish struct {
	target  string
	streams []string
	weight  uint16
	drain   bool
	mac     net.HardwareAddr // of the workload's interface
	has     []string         // addresses, by the last answer
}

func (s *loadBalancerServer) parse(conn *networkservice.Connection) (wish, error) {
	var w wish
	var err error
	if w.streams, err = extracontext.Streams(conn); err != nil {
		return w, err
	}
	if w.weight, err = extracontext.Weight(conn); err != nil {
		return w, err
	}
	if w.drain, err = extracontext.Drain(conn); err != nil {
		return w, err
	}
	if w.target, err = extracontext.Target(conn); err != nil {
		return w, err
	}
	if segments := conn.GetPath().GetPathSegments(); w.target == "" && len(segments) > 0 {
		w.target = segments[0].GetName()
	}
	if w.target == "" {
		return w, fmt.Errorf("extra context %s: no name, and none in the path", extracontext.TargetKey)
	}
	w.has = slices.Clone(conn.GetContext().GetIpContext().GetSrcIpAddrs())
	w.mac = deriveMAC("workload", w.target)
	if text := conn.GetContext().GetEthernetContext().GetSrcMac(); text != "" {
		w.mac, err = parseMAC(text)
	}
	return w, err
}

func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("ethernet_context.src_mac: %q is not a 6-byte address", text)
	case mac[0]&1 != 0 || mac.String() == extracontext.GatewayMAC().String():
		return nil, fmt.Errorf("ethernet_context.src_mac: %s cannot be a workload's", mac)
	}
	return mac, nil
}

// deriveMAC makes a locally administered address from names. Its first byte
// keeps it apart from the gateway's.
func deriveMAC(names ...string) net.HardwareAddr {
	hash := sha256.New()
	for _, name := range names {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(name), name) // never fails
	}
	return append(net.HardwareAddr{0x0a}, hash.Sum(nil)[:5]...)
}

// answer writes into conn what its target needs and returns the target.
func (s *loadBalancerServer) answer(w wish, conn *networkservice.Connection, config *balancer.Config) (balancer.Target, error) {
	target := balancer.Target{
		Name:       w.target,
		Connection: conn.GetId(),
		Interface:  conn.GetMechanism().GetParameters()[common.InterfaceNameKey],
		MAC:        w.mac,
		LegMAC:     deriveMAC("leg", s.name, w.target),
		Streams:    w.streams,
		Weight:     &w.weight,
		Draining:   w.drain,
	}
	if target.Interface == "" {
		return target, errors.New("mechanism: no interface name")
	}
	ip := conn.GetContext().GetIpContext()
	if ip == nil {
		return target, errors.New("ip_context: no addresses assigned")
	}
	ip.Policies = nil
	for _, vip := range config.StreamVIPs(w.streams...) {
		ip.SrcIpAddrs = append(ip.SrcIpAddrs, hosts(vip)...)
		ip.Policies = append(ip.Policies, policy(vip))
	}
	ip.SrcIpAddrs = distinct(ip.SrcIpAddrs) // ranges may be nested
	ip.IpNeighbors = neighbours(ip, target.LegMAC)
	conn.Context.EthernetContext = &networkservice.EthernetContext{SrcMac: target.MAC.String(), DstMac: target.LegMAC.String()}
	if s.mtu != 0 && (conn.Context.MTU == 0 || conn.Context.MTU > s.mtu) {
		conn.Context.MTU = s.mtu
	}
	extracontext.SetEndpointBringsUp(conn)
	return target, nil
}

// unproven returns the streams of a wish whose VIPs the workload does not have
// by what it says.
func (w wish) unproven(config *balancer.Config) []string {
	return slices.DeleteFunc(slices.Clone(w.streams), func(name string) bool {
		for _, vip := range config.StreamVIPs(name) {
			for _, addr := range hosts(vip) {
				if !slices.Contains(w.has, addr) {
					return false
				}
			}
		}
		return true
	})
}

// distinct removes what stands in the list already.
func distinct(list []string) []string {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}

// neighbours returns what answers on the leg for the replica and, in the
// families that the workload has an address or a VIP of, for the gateway.
func neighbours(ip *networkservice.IPContext, legMAC net.HardwareAddr) []*networkservice.IpNeighbor {
	var all []*networkservice.IpNeighbor
	add := func(addr netip.Addr, mac net.HardwareAddr) {
		all = append(all, &networkservice.IpNeighbor{Ip: addr.String(), HardwareAddress: mac.String()})
	}
	gateways := map[bool]netip.Addr{true: extracontext.Gateway4, false: extracontext.Gateway6}
	sources := slices.Clone(ip.GetSrcIpAddrs())
	for _, policy := range ip.GetPolicies() { // a large range brings no address
		sources = append(sources, policy.GetFrom())
	}
	for _, src := range sources {
		prefix, err := netip.ParsePrefix(src)
		if gateway, missing := gateways[prefix.Addr().Is4()]; err == nil && missing {
			add(gateway, extracontext.GatewayMAC())
			delete(gateways, prefix.Addr().Is4())
		}
	}
	for _, dst := range ip.GetDstIpAddrs() {
		if prefix, err := netip.ParsePrefix(dst); err == nil {
			add(prefix.Addr(), legMAC)
		}
	}
	return all
}

// policy sends what comes from a VIP to the gateway, never elsewhere.
func policy(vip netip.Prefix) *networkservice.PolicyRoute {
	route := &networkservice.Route{Prefix: "0.0.0.0/0", NextHop: extracontext.Gateway4.String()}
	if vip.Addr().Is6() {
		route = &networkservice.Route{Prefix: "::/0", NextHop: extracontext.Gateway6.String()}
	}
	return &networkservice.PolicyRoute{From: vip.String(), Routes: []*networkservice.Route{route}}
}

// hosts returns the addresses of a VIP as the workload's interface takes them:
// a small range one by one. For a large one the workload sees to itself.
func hosts(vip netip.Prefix) []string {
	var all []string
	for addr := vip.Addr(); vip.Contains(addr); addr = addr.Next() {
		if len(all) == rangeLimit {
			return nil
		}
		all = append(all, netip.PrefixFrom(addr, addr.BitLen()).String())
	}
	return all
}
