// SPDX-License-Identifier: Apache-2.0

package extracontext

import (
	"net/netip"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// VIPs are prefixes of addresses that an interface shares with other targets.
type VIPs []netip.Prefix

// VIPsOf returns the sources of an answer's policies: single addresses, and the
// ranges that are sent to the gateway above. Endpoints of others route whole
// networks by source, in which the interface's own address is.
func VIPsOf(ip *networkservice.IPContext) VIPs {
	var vips VIPs
	for _, policy := range ip.GetPolicies() {
		from, err := netip.ParsePrefix(policy.GetFrom())
		if err != nil {
			addr, err := netip.ParseAddr(policy.GetFrom())
			if err != nil {
				continue // whoever applies the policies says so
			}
			from = netip.PrefixFrom(addr, addr.BitLen())
		}
		if from.IsSingleIP() || slices.ContainsFunc(policy.GetRoutes(), toGateway) {
			vips = append(vips, from.Masked())
		}
	}
	return vips
}

func toGateway(route *networkservice.Route) bool {
	hop := route.GetNextHop()
	return hop == Gateway4.String() || hop == Gateway6.String()
}

// Contain reports whether an address is one of the VIPs.
func (v VIPs) Contain(addr netip.Addr) bool {
	return slices.ContainsFunc(v, func(p netip.Prefix) bool { return p.Contains(addr) })
}
