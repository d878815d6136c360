// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"net/netip"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// outside is an attractor's external network: what frontends that are on it must
// not share.
type outside struct {
	doc      *Document
	link     string // what two attractors on one link have in common; "": unknown
	networks []externalNetwork
}

type externalNetwork struct {
	path   string
	prefix netip.Prefix
	ranges []AddressRange
}

// attractors checks the addresses of every attractor, its gateways and its VIPs
// against each other.
func (s *set) attractors() {
	var all []outside
	for _, d := range s.docs {
		o, ok := d.Object.(*v1alpha1.Attractor)
		if !ok {
			continue
		}
		out := outsideOf(d, &o.Spec.Interface)
		for _, other := range all {
			s.sharedAddresses(out, other)
		}
		all = append(all, out)
		s.attractorVIPs(out, o.Spec.Vips)
		s.attractorGateways(out, o)
	}
}

func outsideOf(d *Document, spec *v1alpha1.InterfaceSpec) outside {
	out := outside{doc: d}
	switch spec.Type {
	case v1alpha1.InterfaceNSMVlan:
		if v := spec.NSMVlan; v != nil && v.VlanID != nil {
			out.link = fmt.Sprintf("VLAN %d of %s", *v.VlanID, v.BaseInterface)
		}
	case v1alpha1.InterfaceHostDevice:
		out.link = fmt.Sprintf("interface %s in trench %q", spec.Name, d.Object.GetMeta().Trench())
	}
	for _, f := range []struct{ path, value string }{
		{"spec.interface.ipv4-prefix", spec.PrefixIPv4}, {"spec.interface.ipv6-prefix", spec.PrefixIPv6},
	} {
		if p, ranges, err := AddressRanges(f.value); err == nil {
			out.networks = append(out.networks, externalNetwork{f.path, p, ranges})
		}
	}
	return out
}

// sharedAddresses: the frontends of two attractors on one link would take the
// same addresses.
func (s *set) sharedAddresses(a, b outside) {
	if a.link == "" || a.link != b.link {
		return
	}
	if b.doc.File != "" && a.doc.File == "" {
		a, b = b, a
	}
	for _, n := range a.networks {
		for _, m := range b.networks {
			if common := firstOverlap(n.ranges, m.ranges); common != "" {
				s.at(a.doc).errorf(n.path, "%s and attractor %q have addresses in common on %s; give each ranges of its own, such as \"first-last/%d\"",
					common, b.doc.Key().Name, a.link, n.prefix.Bits())
			}
		}
	}
}

func firstOverlap(a, b []AddressRange) string {
	for _, r := range a {
		for _, o := range b {
			if r.overlaps(o) {
				return fmt.Sprintf("%s-%s", r.First, r.Last)
			}
		}
	}
	return ""
}

// attractorVIPs: routers would look on the link for an address of its network,
// whatever is announced.
func (s *set) attractorVIPs(out outside, names []string) {
	for i, name := range names {
		vip, doc := lookup[*v1alpha1.Vip](s, scopeOf(out.doc), v1alpha1.KindVip, name)
		if doc == nil {
			continue
		}
		p, err := ParsePrefix(vip.Spec.Address)
		if err != nil {
			continue
		}
		for _, n := range out.networks {
			if n.prefix.Overlaps(p) {
				s.at(out.doc).errorf(index("spec.vips", i), "the address %s of vip %q is in the attractor's network %s, where routers look for it on the link",
					p, name, n.prefix)
			}
		}
	}
}

func (s *set) attractorGateways(out outside, o *v1alpha1.Attractor) {
	addresses := map[netip.Addr]string{}
	for i, name := range o.Spec.Gateways {
		path := index("spec.gateways", i)
		gateway, doc := lookup[*v1alpha1.Gateway](s, scopeOf(out.doc), v1alpha1.KindGateway, name)
		if doc == nil {
			continue
		}
		a, err := netip.ParseAddr(gateway.Spec.Address)
		if err != nil {
			continue
		}
		if other, ok := addresses[a]; ok && other != name {
			s.at(out.doc).errorf(path, "gateways %q and %q have one address, %s", other, name, a)
		}
		addresses[a] = name
		s.unreachable(out, path, &gateway.Spec, a)
		s.gatewayInVIP(out, path, name, a, o.Spec.Vips)
	}
}

// unreachable: a router that is not on the link cannot be a next hop, and BGP
// does not reach it unless it may be far.
func (s *set) unreachable(out outside, path string, gateway *v1alpha1.GatewaySpec, a netip.Addr) {
	if a.IsLinkLocalUnicast() && a.Is6() || distant(gateway.BGP) {
		return
	}
	known := ""
	for _, n := range out.networks {
		if n.prefix.Contains(a) {
			return
		}
		if n.prefix.Addr().Is4() == a.Is4() {
			known = n.prefix.String()
		}
	}
	if known != "" {
		s.at(out.doc).errorf(path, "the address %s is not in the attractor's network %s, so it cannot be reached; a BGP router elsewhere needs bgp.multihop", a, known)
	}
}

func (s *set) gatewayInVIP(out outside, path, name string, a netip.Addr, vips []string) {
	for _, vip := range vips {
		o, doc := lookup[*v1alpha1.Vip](s, scopeOf(out.doc), v1alpha1.KindVip, vip)
		if doc == nil {
			continue
		}
		if p, err := ParsePrefix(o.Spec.Address); err == nil && p.Contains(a) {
			s.at(out.doc).errorf(path, "the address %s of gateway %q is in vip %q (%s)", a, name, vip, p)
		}
	}
}
