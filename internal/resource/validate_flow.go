// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/classify"
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
	c.targetPort(spec)
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

// sourceSubnets sorts the prefixes so that one that contains others stands right
// before them: then each has to be compared with one other only.
func (c *checker) sourceSubnets(subnets []string) {
	type entry struct {
		prefix netip.Prefix
		index  int
	}
	var entries []entry
	for i, s := range subnets {
		p, err := ParsePrefix(s)
		if err != nil {
			c.check(index("spec.source-subnets", i), err)
			continue
		}
		entries = append(entries, entry{p, i})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), cmp.Compare(a.index, b.index))
	})
	for i, e := range entries {
		if i == 0 {
			continue
		}
		if wide := entries[i-1]; wide.prefix.Overlaps(e.prefix) {
			later, earlier := max(e.index, wide.index), min(e.index, wide.index)
			c.errorf(index("spec.source-subnets", later), "%s overlaps with [%d] %s", subnets[later], earlier, subnets[earlier])
			entries[i] = entry{wide.prefix, wide.index} // the next one is compared with the wide one again
		}
	}
}

// ports does the same with ranges, sorted by where they start.
func (c *checker) ports(path string, ports []string) {
	type entry struct {
		r     classify.PortRange
		index int
	}
	var entries []entry
	for i, s := range ports {
		r, err := ParsePortRange(s)
		if err != nil {
			c.check(index(path, i), err)
			continue
		}
		entries = append(entries, entry{r, i})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.r.First, b.r.First), cmp.Compare(a.index, b.index))
	})
	for i, e := range entries {
		if i == 0 {
			continue
		}
		if before := entries[i-1]; portsOverlap(before.r, e.r) {
			later, earlier := max(e.index, before.index), min(e.index, before.index)
			c.errorf(index(path, later), "%q overlaps with [%d] %q", ports[later], earlier, ports[earlier])
			if before.r.Last > e.r.Last {
				entries[i] = before // it reaches further than this one
			}
		}
	}
}

// targetPort: replies are translated back by the target port alone, so that it
// stands for one port.
func (c *checker) targetPort(spec *v1alpha1.FlowSpec) {
	const path = "spec.target-port"
	if spec.TargetPort == 0 {
		if c.doc.has(path) {
			c.errorf(path, "must be between 1 and 65535")
		}
		return
	}
	if n := len(spec.DestinationPorts); n != 1 {
		c.errorf(path, `needs exactly one entry in destination-ports, a single port such as "80"; there are %d`, n)
		return
	}
	r, err := ParsePortRange(spec.DestinationPorts[0])
	switch {
	case err != nil: // reported
	case r.First != r.Last:
		c.errorf(path, `needs a single destination port such as "80", not %q`, spec.DestinationPorts[0])
	case r.First == 0:
		c.errorf(path, "destination port 0 cannot be translated")
	}
}

func (c *checker) byteMatches(spec *v1alpha1.FlowSpec) {
	if len(spec.ByteMatches) > classify.MaxByteMatches {
		c.errorf("spec.byte-matches", "has %d entries; a flow has at most %d", len(spec.ByteMatches), classify.MaxByteMatches)
	}
	for i, s := range spec.ByteMatches {
		path := index("spec.byte-matches", i)
		if _, err := ParseByteMatch(s); err != nil {
			c.check(path, err)
			continue
		}
		if protocol, _, _ := strings.Cut(s, "["); !slices.Contains(spec.Protocols, protocol) {
			c.warnf(path, "has no effect: %s is not among the flow's protocols", protocol)
		}
	}
}
