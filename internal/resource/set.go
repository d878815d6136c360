// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
	"strings"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Check sets the defaults of all documents and validates them, each by itself
// and all as one set. Problems of documents without a file (applied earlier)
// are reported only if they are errors.
func Check(docs []*Document) Problems {
	var problems Problems
	s := newSet(docs, &problems)
	for _, d := range s.docs {
		if d.File != "" { // else it is part of a snapshot: complete, and not to be written
			setDefaults(d.Object)
		}
		(&checker{doc: d, problems: &problems}).validate()
	}
	s.check()
	var out Problems
	for _, p := range problems {
		if p.File != "" || !p.Warning {
			out = append(out, p)
		}
	}
	return out
}

// scope is where references are resolved: a trench in a namespace.
type scope struct{ namespace, trench string }

func scopeOf(d *Document) scope {
	m := d.Object.GetMeta()
	return scope{m.Namespace, m.Trench()}
}

// set is a set of documents with what its rules look up.
type set struct {
	docs      []*Document
	byKey     map[Key]*Document
	addresses map[*v1alpha1.Vip]netip.Prefix // parsed; invalid ones are zero
	problems  *Problems
}

// newSet indexes documents; the second one of a key is reported and left out.
func newSet(docs []*Document, problems *Problems) *set {
	s := &set{byKey: make(map[Key]*Document, len(docs)), addresses: map[*v1alpha1.Vip]netip.Prefix{}, problems: problems}
	for _, d := range docs {
		key := d.Key()
		if first, ok := s.byKey[key]; ok && key.Name != "" {
			s.at(d).errorf("metadata.name", "%s is defined twice, first at %s:%d", key, first.File, first.Line)
			continue
		}
		s.byKey[key] = d
		s.docs = append(s.docs, d)
	}
	return s
}

func (s *set) at(d *Document) *checker { return &checker{doc: d, problems: s.problems} }

func (s *set) check() {
	s.trenchNames()
	for _, d := range s.docs {
		s.trenchLabel(d)
		switch o := d.Object.(type) {
		case *v1alpha1.Conduit:
			for i, nat := range o.Spec.DestinationPortNats {
				s.references(d, index("spec.destination-port-nats", i)+".vips", v1alpha1.KindVip, nat.Vips)
			}
		case *v1alpha1.Stream:
			s.reference(d, "spec.conduit", v1alpha1.KindConduit, o.Spec.Conduit)
		case *v1alpha1.Flow:
			s.reference(d, "spec.stream", v1alpha1.KindStream, o.Spec.Stream)
			s.references(d, "spec.vips", v1alpha1.KindVip, o.Spec.Vips)
		case *v1alpha1.Attractor:
			s.references(d, "spec.composites", v1alpha1.KindConduit, o.Spec.Composites)
			s.references(d, "spec.gateways", v1alpha1.KindGateway, o.Spec.Gateways)
			s.references(d, "spec.vips", v1alpha1.KindVip, o.Spec.Vips)
		}
	}
	s.families()
	s.sharedByAttractors()
	s.sharedByConduits()
	s.sameAddress()
	s.attractors()
	flows := s.flows()
	s.ambiguousFlows(flows)
	s.translations(flows)
	s.limits()
}

// limits compares the size of a conduit's rule set and gateways with what a
// load balancer can hold.
func (s *set) limits() {
	flows := map[scope]int{}
	for _, d := range s.docs {
		switch o := d.Object.(type) {
		case *v1alpha1.Flow:
			if flows[scopeOf(d)]++; flows[scopeOf(d)] == classify.MaxRules+1 {
				s.at(d).errorf("", "is flow number %d of trench %q; a trench has at most %d", classify.MaxRules+1, scopeOf(d).trench, classify.MaxRules)
			}
		case *v1alpha1.Attractor:
			if len(o.Spec.Gateways) > classify.MaxGateways {
				s.at(d).errorf("spec.gateways", "has %d entries; an attractor has at most %d", len(o.Spec.Gateways), classify.MaxGateways)
			}
		}
	}
}

// trenchNames: a network service is called "<conduit>.<trench>" on the mesh,
// where namespaces do not exist.
func (s *set) trenchNames() {
	first := map[string]*Document{}
	for _, d := range s.docs {
		m := d.Object.GetMeta()
		if _, ok := d.Object.(*v1alpha1.Trench); !ok || m.Name == "" {
			continue
		}
		if other, ok := first[m.Name]; ok {
			s.at(d).errorf("metadata.name", "namespace %s has a trench %q too; trench names are unique on the mesh",
				other.Object.GetMeta().Namespace, m.Name)
			continue
		}
		first[m.Name] = d
	}
}

func (s *set) trenchLabel(d *Document) {
	m := d.Object.GetMeta()
	if m.Trench() == "" || d.Object.GetType().Kind == v1alpha1.KindTrench {
		return
	}
	if _, ok := s.byKey[Key{v1alpha1.KindTrench, m.Namespace, m.Trench()}]; !ok {
		s.at(d).errorf("metadata.labels.trench", "there is no Trench %q in namespace %s", m.Trench(), m.Namespace)
	}
}

func (s *set) references(d *Document, path, kind string, names []string) {
	for i, name := range names {
		s.reference(d, index(path, i), kind, name)
	}
}

// reference checks that an object of the same trench has the name. The empty
// name is no reference: where it is not allowed, validation says so.
func (s *set) reference(d *Document, path, kind, name string) {
	m := d.Object.GetMeta()
	if name == "" || m.Trench() == "" {
		return
	}
	target, ok := s.byKey[Key{kind, m.Namespace, name}]
	switch {
	case !ok:
		s.at(d).errorf(path, "there is no %s %q in namespace %s", kind, name, m.Namespace)
	case target.Object.GetMeta().Trench() != m.Trench():
		s.at(d).errorf(path, "%s %q belongs to trench %q, not to %q", kind, name, target.Object.GetMeta().Trench(), m.Trench())
	}
}

// lookup returns the object of a kind in the scope, or nil.
func lookup[T v1alpha1.Object](s *set, sc scope, kind, name string) (object T, doc *Document) {
	d, ok := s.byKey[Key{kind, sc.namespace, name}]
	if !ok || d.Object.GetMeta().Trench() != sc.trench {
		return object, nil
	}
	return d.Object.(T), d
}

// families compares addresses with the trench's ip-family. What would never
// work is an error; what is merely without effect, and stands in manifests
// that Meridio accepts, is a warning.
func (s *set) families() {
	for _, d := range s.docs {
		m := d.Object.GetMeta()
		t, ok := s.byKey[Key{v1alpha1.KindTrench, m.Namespace, m.Trench()}]
		if !ok {
			continue
		}
		family := t.Object.(*v1alpha1.Trench).Spec.IPFamily
		switch o := d.Object.(type) {
		case *v1alpha1.Vip:
			if p, err := ParsePrefix(o.Spec.Address); err == nil && !familyAllowed(family, p.Addr()) {
				s.at(d).errorf("spec.address", "%s does not fit trench %q, which is %s", o.Spec.Address, m.Trench(), family)
			}
		case *v1alpha1.Gateway:
			if a, err := netip.ParseAddr(o.Spec.Address); err == nil && !familyAllowed(family, a) {
				s.at(d).errorf("spec.address", "%s does not fit trench %q, which is %s", o.Spec.Address, m.Trench(), family)
			}
		case *v1alpha1.Flow:
			for i, subnet := range o.Spec.SourceSubnets {
				if p, err := ParsePrefix(subnet); err == nil && !familyAllowed(family, p.Addr()) {
					s.at(d).warnf(index("spec.source-subnets", i), "%s matches nothing: trench %q is %s", subnet, m.Trench(), family)
				}
			}
		case *v1alpha1.Attractor:
			s.attractorFamilies(d, &o.Spec.Interface, family)
		}
	}
}

func (s *set) attractorFamilies(d *Document, spec *v1alpha1.InterfaceSpec, family string) {
	for _, f := range []struct{ family, field, value string }{
		{v1alpha1.IPv4, "ipv4-prefix", spec.PrefixIPv4}, {v1alpha1.IPv6, "ipv6-prefix", spec.PrefixIPv6},
	} {
		wanted := family == v1alpha1.Dualstack || family == f.family
		path := "spec.interface." + f.field
		switch {
		case f.value == "" && wanted && (spec.Type == v1alpha1.InterfaceNSMVlan || spec.Type == v1alpha1.InterfaceMacvlan):
			s.at(d).errorf(path, "is missing; type %s in a trench that is %s needs it", spec.Type, family)
		case f.value != "" && !wanted:
			s.at(d).warnf(path, "has no effect: the trench is %s", family)
		}
	}
}

// sharedByAttractors: a conduit or vip belongs to one attractor.
func (s *set) sharedByAttractors() {
	type use struct {
		scope
		kind, name string
	}
	used := map[use]*Document{}
	for _, d := range s.docs {
		o, ok := d.Object.(*v1alpha1.Attractor)
		if !ok {
			continue
		}
		for _, l := range []struct {
			path, kind string
			names      []string
		}{
			{"spec.composites", v1alpha1.KindConduit, o.Spec.Composites},
			{"spec.vips", v1alpha1.KindVip, o.Spec.Vips},
		} {
			for i, name := range l.names {
				u := use{scopeOf(d), l.kind, name}
				if other, ok := used[u]; ok && other != d {
					s.at(d).errorf(index(l.path, i), "%s %q belongs to attractor %q already", strings.ToLower(l.kind), name, other.Key().Name)
				}
				used[u] = d
			}
		}
	}
}

// sharedByConduits: the flows that use a vip lead to one conduit, because the
// address is attracted to one place only.
func (s *set) sharedByConduits() {
	type use struct {
		scope
		vip string
	}
	type user struct {
		flow    *Document
		conduit string
	}
	used := map[use]user{}
	for _, d := range s.docs {
		o, ok := d.Object.(*v1alpha1.Flow)
		if !ok {
			continue
		}
		stream, streamDoc := lookup[*v1alpha1.Stream](s, scopeOf(d), v1alpha1.KindStream, o.Spec.Stream)
		if streamDoc == nil || stream.Spec.Conduit == "" {
			continue
		}
		for i, vip := range o.Spec.Vips {
			u := use{scopeOf(d), vip}
			other, ok := used[u]
			if ok && other.conduit != stream.Spec.Conduit {
				s.at(d).errorf(index("spec.vips", i), "vip %q is used in conduit %q by flow %q and cannot be used in conduit %q too",
					vip, other.conduit, other.flow.Key().Name, stream.Spec.Conduit)
				continue
			}
			used[u] = user{d, stream.Spec.Conduit}
		}
	}
}

// sameAddress warns about two vips or two gateways of one trench with one
// address.
func (s *set) sameAddress() {
	type use struct {
		scope
		kind, address string
	}
	used := map[use]*Document{}
	for _, d := range s.docs {
		var address string
		switch o := d.Object.(type) {
		case *v1alpha1.Vip:
			p, err := ParsePrefix(o.Spec.Address)
			if err != nil {
				continue
			}
			address = p.String()
		case *v1alpha1.Gateway:
			a, err := netip.ParseAddr(o.Spec.Address)
			if err != nil {
				continue
			}
			address = a.String()
		default:
			continue
		}
		u := use{scopeOf(d), d.Object.GetType().Kind, address}
		if other, ok := used[u]; ok {
			s.at(d).warnf("spec.address", "%s has the address %s too", other.Key(), address)
		}
		used[u] = d
	}
}
