// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// translation is one port translation and what it comes from.
type translation struct {
	classify.NAT
	doc   *Document
	vip   string
	entry int // of the conduit's destination-port-nats; -1 for a flow
}

func (t *translation) path() string {
	if t.entry < 0 {
		return "spec.target-port"
	}
	return index("spec.destination-port-nats", t.entry)
}

// origin names the translation in a problem of doc.
func (t *translation) origin(doc *Document) string {
	switch name := t.doc.Key().Name; {
	case t.entry < 0:
		return fmt.Sprintf("flow %q", name)
	case t.doc == doc:
		return fmt.Sprintf("[%d]", t.entry)
	default:
		return fmt.Sprintf("destination-port-nats[%d] of conduit %q", t.entry, name)
	}
}

// of renders a port of the translation.
func (t *translation) of(port uint16) string {
	return fmt.Sprintf("%d (%s) of vip %q", port, protocolNames[t.Protocol], t.vip)
}

// translations checks the port translations of each conduit and of its flows
// against each other and against what the flows match.
func (s *set) translations(flows []*flowMatch) {
	all := map[conduitKey][]translation{}
	var order []conduitKey
	add := func(key conduitKey, list []translation) {
		if len(all[key]) == 0 && len(list) > 0 {
			order = append(order, key)
		}
		all[key] = append(all[key], list...)
	}
	for _, d := range s.docs {
		if o, ok := d.Object.(*v1alpha1.Conduit); ok {
			add(conduitKey{scopeOf(d), d.Key().Name}, s.conduitTranslations(d, &o.Spec))
		}
	}
	for _, m := range flows {
		add(m.conduit, m.translations())
	}
	for _, key := range order {
		list := all[key]
		// A problem belongs to the later one of two: of a file, if one is.
		slices.SortStableFunc(list, func(a, b translation) int { return rank(a.doc) - rank(b.doc) })
		s.translatedTwice(list)
		s.targetPortsTwice(list)
		s.untranslatable(key, list, flows)
	}
}

func rank(d *Document) int {
	if d.File == "" {
		return 0
	}
	return 1
}

func (s *set) conduitTranslations(d *Document, spec *v1alpha1.ConduitSpec) []translation {
	var out []translation
	for i, nat := range spec.DestinationPortNats {
		if nat.Port == 0 || nat.TargetPort == 0 || ProtocolNumber(nat.Protocol) == 0 {
			continue // reported
		}
		for _, v := range s.vips(scopeOf(d), nat.Vips) {
			n := classify.NAT{VIP: v.prefix, Protocol: ProtocolNumber(nat.Protocol), Port: nat.Port, TargetPort: nat.TargetPort}
			out = append(out, translation{n, d, v.name, i})
		}
	}
	if len(out) > classify.MaxNATs {
		s.at(d).errorf("spec.destination-port-nats", "stands for %d translations, one for each vip of an entry; a conduit has at most %d", len(out), classify.MaxNATs)
		return nil
	}
	return out
}

func (m *flowMatch) translations() []translation {
	if m.spec.TargetPort == 0 || len(m.dst) != 1 || m.dst[0].First != m.dst[0].Last {
		return nil
	}
	var out []translation
	for _, v := range m.vips {
		for _, p := range m.spec.Protocols {
			if n := ProtocolNumber(p); n != 0 {
				out = append(out, translation{classify.NAT{VIP: v.prefix, Protocol: n, Port: m.dst[0].First, TargetPort: m.spec.TargetPort}, m.doc, v.name, -1})
			}
		}
	}
	return out
}

// translatedTwice: of two entries for one port neither wins. Flows may differ:
// the one that matches decides.
func (s *set) translatedTwice(list []translation) {
	type outside struct {
		vip      netip.Prefix
		protocol uint8
		port     uint16
	}
	seen := map[outside]*translation{}
	for i := range list {
		t := &list[i]
		if t.entry < 0 {
			continue
		}
		o := outside{t.VIP, t.Protocol, t.Port}
		// With the same target port the entries are reported as such, or they
		// are one that names two vips with one address.
		if first := seen[o]; first != nil && first.TargetPort != t.TargetPort {
			s.at(t.doc).errorf(t.path(), "port %s is translated by %s already", t.of(t.Port), first.origin(t.doc))
			continue
		}
		seen[o] = t
	}
}

// targetPortsTwice: replies are told apart by the target port.
func (s *set) targetPortsTwice(list []translation) {
	nats := make([]classify.NAT, len(list))
	for i, t := range list {
		nats[i] = t.NAT
	}
	type place struct {
		doc   *Document
		entry int
	}
	seen := map[place]bool{} // one problem of each is enough
	for _, pair := range classify.NATConflicts(nats) {
		t, first := &list[pair[0]], &list[pair[1]]
		if at := (place{t.doc, t.entry}); !seen[at] {
			seen[at] = true
			s.at(t.doc).errorf(t.path(), "target-port %s stands for port %d in %s already; replies could not be told apart",
				t.of(t.TargetPort), first.Port, first.origin(t.doc))
		}
	}
}

// untranslatable warns about translations of ports that no flow lets in, and
// about target ports that a flow lets in as well: replies from there would be
// translated, too.
func (s *set) untranslatable(key conduitKey, list []translation, flows []*flowMatch) {
	open, direct, translated := portIndex{}, portIndex{}, portIndex{}
	for i := range list {
		t := &list[i]
		ports := []classify.PortRange{{First: t.Port, Last: t.Port}}
		translated.add(t.VIP, t.Protocol, ports, t.doc)
		open.add(t.VIP, t.Protocol, nil, nil)
		direct.add(t.VIP, t.Protocol, nil, nil)
	}
	for _, m := range flows {
		if m.conduit != key {
			continue
		}
		ports := m.dst
		if len(ports) == 0 {
			ports = []classify.PortRange{{First: 0, Last: 65535}}
		}
		for _, v := range m.vips {
			for _, p := range m.protocols {
				open.add(v.prefix, ProtocolNumber(p), ports, m.doc)
				if m.spec.TargetPort == 0 {
					direct.add(v.prefix, ProtocolNumber(p), ports, m.doc)
				}
			}
		}
	}
	for _, x := range []portIndex{open, direct, translated} {
		x.build()
	}
	type place struct {
		doc   *Document
		entry int
		what  bool
	}
	seen := map[place]bool{}
	for i := range list {
		t := &list[i]
		if t.entry >= 0 && open.find(t.VIP, t.Protocol, t.Port) == nil && !seen[place{t.doc, t.entry, true}] {
			seen[place{t.doc, t.entry, true}] = true
			s.at(t.doc).warnf(t.path(), "no flow of the conduit matches port %s; the port must be open in a flow", t.of(t.Port))
		}
		if t.Port == t.TargetPort || translated.find(t.VIP, t.Protocol, t.TargetPort) != nil {
			continue
		}
		if m := direct.find(t.VIP, t.Protocol, t.TargetPort); m != nil && !seen[place{t.doc, t.entry, false}] {
			seen[place{t.doc, t.entry, false}] = true
			s.at(t.doc).warnf(t.path(), "flow %q matches target-port %s directly; replies from there would be translated to port %d, too",
				m.Key().Name, t.of(t.TargetPort), t.Port)
		}
	}
}
