// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/maglev"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// checker validates one document by itself and collects its problems.
type checker struct {
	doc      *Document
	problems *Problems
}

func (c *checker) add(warning bool, path, format string, args ...any) {
	if c.doc.isBad(path) {
		return
	}
	*c.problems = append(*c.problems, Problem{
		File: c.doc.File, Line: c.doc.line(path), Key: c.doc.Key(), Field: path,
		Reason: fmt.Sprintf(format, args...), Warning: warning,
	})
}

func (c *checker) errorf(path, format string, args ...any) { c.add(false, path, format, args...) }

func (c *checker) warnf(path, format string, args ...any) { c.add(true, path, format, args...) }

// check reports err, if there is one, at path.
func (c *checker) check(path string, err error) {
	if err != nil {
		c.errorf(path, "%s", err)
	}
}

func (c *checker) oneOf(path, value string, allowed ...string) bool {
	if slices.Contains(allowed, value) {
		return true
	}
	c.errorf(path, "%q is not allowed; use %s", value, strings.Join(allowed, ", "))
	return false
}

// unique reports entries of a list that stand there twice.
func (c *checker) unique(path string, values []string) {
	seen := make(map[string]int, len(values))
	for i, v := range values {
		if first, ok := seen[v]; ok {
			c.errorf(index(path, i), "%q stands here twice, first at [%d]", v, first)
			continue
		}
		seen[v] = i
	}
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// validate checks everything that can be said about one object alone. The
// defaults are set already.
func (c *checker) validate() {
	c.metadata()
	switch o := c.doc.Object.(type) {
	case *v1alpha1.Trench:
		c.oneOf("spec.ip-family", o.Spec.IPFamily, v1alpha1.IPv4, v1alpha1.IPv6, v1alpha1.Dualstack)
	case *v1alpha1.Conduit:
		c.conduit(&o.Spec)
	case *v1alpha1.Stream:
		c.stream(&o.Spec)
	case *v1alpha1.Vip:
		c.vip(o)
	case *v1alpha1.Flow:
		c.flow(&o.Spec)
	case *v1alpha1.Attractor:
		c.attractor(&o.Spec)
	case *v1alpha1.Gateway:
		c.gateway(&o.Spec)
	}
}

func (c *checker) metadata() {
	m := c.doc.Object.GetMeta()
	kind := c.doc.Object.GetType().Kind
	limit, pattern := maxName, subdomainPattern
	switch kind {
	case v1alpha1.KindTrench:
		limit, pattern = maxTrenchName, labelPattern
	case v1alpha1.KindConduit:
		limit, pattern = maxConduitName, labelPattern
	case v1alpha1.KindAttractor:
		limit = maxAttractorName
	}
	switch {
	case m.Name == "":
		c.errorf("metadata.name", "must not be empty")
	case len(m.Name) > limit:
		c.errorf("metadata.name", "has %d characters; the name of %s has at most %d", len(m.Name), article(kind), limit)
	case !pattern.MatchString(m.Name):
		c.errorf("metadata.name", "%q is not a name; use lower-case letters, digits and '-'%s, with a letter or digit at both ends",
			m.Name, map[bool]string{true: " and '.'"}[pattern == subdomainPattern])
	}
	if len(m.Namespace) > maxNamespace || !labelPattern.MatchString(m.Namespace) {
		c.errorf("metadata.namespace", "%q is not a namespace; use at most %d lower-case letters, digits and '-'", m.Namespace, maxNamespace)
	}
	if kind != v1alpha1.KindTrench && m.Trench() == "" {
		c.errorf("metadata.labels.trench", "is missing; it names the trench that the %s belongs to", kind)
	}
}

func article(kind string) string {
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

func (c *checker) stream(spec *v1alpha1.StreamSpec) {
	if n := *spec.MaxTargets; n < 1 || n > 10000 {
		c.errorf("spec.max-targets", "must be between 1 and 10000, not %d", n)
	}
	if size := spec.TableSize; size != nil {
		switch {
		case *size > v1alpha1.MaxTableSize:
			c.errorf("spec.table-size", "must be at most %d, not %d", v1alpha1.MaxTableSize, *size)
		case !maglev.IsPrime(*size):
			c.errorf("spec.table-size", "must be a prime number, which %d is not", *size)
		case *size < *spec.MaxTargets:
			c.errorf("spec.table-size", "%d slots are too few for %d targets (max-targets)", *size, *spec.MaxTargets)
		}
	}
	if spec.Conduit == "" {
		c.warnf("spec.conduit", "the stream has no conduit, so no traffic can reach it")
	}
}

func (c *checker) vip(o *v1alpha1.Vip) {
	const path = "spec.address"
	if o.Spec.Address == "" {
		c.errorf(path, "must not be empty")
		return
	}
	p, err := ParsePrefix(o.Spec.Address)
	if err != nil {
		c.check(path, err)
		return
	}
	switch r, reserved := reservedIn(p); {
	case reserved && r.Bits() <= p.Bits():
		c.errorf(path, "%s is not a unicast address that can be routed", o.Spec.Address)
	case reserved:
		c.errorf(path, "%s contains %s, which is not a unicast address that can be routed", o.Spec.Address, r)
	}
}

// conduit checks what can be said without the VIPs' addresses; the ports of
// several entries are compared by set.translations.
func (c *checker) conduit(spec *v1alpha1.ConduitSpec) {
	c.oneOf("spec.type", spec.Type, v1alpha1.StatelessLB)
	if a := spec.Affinity; a != nil && (a.MaxFlows < 0 || a.MaxFlows > v1alpha1.MaxAffinityFlows) {
		c.errorf("spec.affinity.max-flows", "must be between 0 (off) and %d, not %d", v1alpha1.MaxAffinityFlows, a.MaxFlows)
	}
	type translation struct {
		port, targetPort uint16
		protocol         string
	}
	seen := map[translation]int{}
	for i, nat := range spec.DestinationPortNats {
		path := index("spec.destination-port-nats", i)
		c.portNat(path, nat)
		if nat.Port == 0 || nat.TargetPort == 0 {
			continue // reported; nothing to compare
		}
		t := translation{nat.Port, nat.TargetPort, nat.Protocol}
		if first, ok := seen[t]; ok {
			c.errorf(path, "has the same port, target-port and protocol as [%d]; list the vips of both in one entry", first)
			continue
		}
		seen[t] = i
	}
}

func (c *checker) portNat(path string, nat v1alpha1.PortNat) {
	if nat.Port == 0 {
		c.errorf(path+".port", "must be between 1 and 65535")
	}
	if nat.TargetPort == 0 {
		c.errorf(path+".target-port", "must be between 1 and 65535")
	}
	if len(nat.Vips) == 0 {
		c.errorf(path+".vips", "must name at least one vip")
	}
	c.unique(path+".vips", nat.Vips)
	c.oneOf(path+".protocol", nat.Protocol, v1alpha1.TCP, v1alpha1.UDP, v1alpha1.SCTP)
}
