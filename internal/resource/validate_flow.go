// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"net/netip"
	"slices"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

func (c *checker) flow(spec *v1alpha1.FlowSpec) {
	if spec.Stream == "" {
		c.warnf("spec.stream", "the flow has no stream, so its traffic is dropped")
	}
	switch {
	case !c.doc.has("spec.vips") && c.doc.File != "":
		c.errorf("spec.vips", "is missing; it names the destination addresses")
	case len(spec.Vips) == 0:
		c.warnf("spec.vips", "the list is empty, so the flow matches nothing")
	}
	c.unique("spec.vips", spec.Vips)
	c.flowProtocols(spec)
	c.sourceSubnets(spec.SourceSubnets)
	c.ports("spec.source-ports", spec.SourcePorts)
	c.ports("spec.destination-ports", spec.DestinationPorts)
	c.byteMatches(spec)
	if spec.Priority < 0 {
		c.errorf("spec.priority", "must be 0 or more, not %d", spec.Priority)
	}
	// The first release of Meridio's v1alpha1 had no priority.
	if c.doc.File != "" && !c.doc.has("spec.priority") && c.doc.dialect != dialectMeridioV1alpha1 {
		c.errorf("spec.priority", "is missing; the flow with the highest priority wins")
	}
}

func (c *checker) flowProtocols(spec *v1alpha1.FlowSpec) {
	if len(spec.Protocols) == 0 {
		c.errorf("spec.protocols", "must name at least one of tcp, udp, sctp")
	}
	for i, p := range spec.Protocols {
		c.oneOf(index("spec.protocols", i), p, v1alpha1.TCP, v1alpha1.UDP, v1alpha1.SCTP)
	}
	c.unique("spec.protocols", spec.Protocols)
}

func (c *checker) sourceSubnets(subnets []string) {
	parsed := make([]netip.Prefix, len(subnets))
	for i, s := range subnets {
		path := index("spec.source-subnets", i)
		p, err := ParsePrefix(s)
		if err != nil {
			c.check(path, err)
			continue
		}
		parsed[i] = p
		for j, o := range parsed[:i] {
			if o.IsValid() && o.Overlaps(p) {
				c.errorf(path, "%s overlaps with [%d] %s", s, j, subnets[j])
				break
			}
		}
	}
}

func (c *checker) ports(path string, ports []string) {
	var parsed []PortRange
	for i, s := range ports {
		r, err := ParsePortRange(s)
		if err != nil {
			c.check(index(path, i), err)
			continue
		}
		if j := slices.IndexFunc(parsed, r.overlaps); j >= 0 {
			c.errorf(index(path, i), "%q overlaps with another range of the list", s)
		}
		parsed = append(parsed, r)
	}
}

func (c *checker) byteMatches(spec *v1alpha1.FlowSpec) {
	for i, s := range spec.ByteMatches {
		path := index("spec.byte-matches", i)
		m, err := ParseByteMatch(s)
		switch {
		case err != nil:
			c.check(path, err)
		case m.Value&^m.Mask != 0:
			c.warnf(path, "%q can never match: the value has bits that the mask clears", s)
		case !slices.Contains(spec.Protocols, m.Protocol):
			c.warnf(path, "%q can never match: %s is not among the flow's protocols", s, m.Protocol)
		}
	}
}
