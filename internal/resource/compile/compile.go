// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-project/weft/internal/balancer"
	"github.com/weft-project/weft/internal/classify"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Balancer returns the configuration of a conduit's load balancers: its streams,
// the flows that lead to them, the VIPs of those flows and of the attractor, the
// conduit's port translations, and the attractor's gateways.
func Balancer(s *resource.Snapshot, trench, conduit string) (*balancer.Config, error) {
	conduits := resource.OfTrench[*v1alpha1.Conduit](s, trench)
	at := slices.IndexFunc(conduits, func(c *v1alpha1.Conduit) bool { return c.Metadata.Name == conduit })
	if at < 0 {
		return nil, fmt.Errorf("conduit %q of trench %q: %w", conduit, trench, resource.ErrNotFound)
	}
	c := compiler{vips: map[string]netip.Prefix{}}
	for _, v := range resource.OfTrench[*v1alpha1.Vip](s, trench) {
		p, err := resource.ParsePrefix(v.Spec.Address)
		if err != nil {
			return nil, fmt.Errorf("vip %q: %w", v.Metadata.Name, err)
		}
		c.vips[v.Metadata.Name] = p
	}
	streams := map[string]bool{}
	for _, o := range resource.OfTrench[*v1alpha1.Stream](s, trench) {
		if o.Spec.Conduit == conduit {
			streams[o.Metadata.Name] = true
			stream := balancer.Stream{Name: o.Metadata.Name, MaxTargets: int(*o.Spec.MaxTargets)}
			if o.Spec.TableSize != nil {
				stream.TableSize = *o.Spec.TableSize
			}
			c.config.Streams = append(c.config.Streams, stream)
		}
	}
	for _, o := range resource.OfTrench[*v1alpha1.Flow](s, trench) {
		if !streams[o.Spec.Stream] || len(o.Spec.Vips) == 0 {
			continue
		}
		if err := c.flow(o); err != nil {
			return nil, fmt.Errorf("flow %q: %w", o.Metadata.Name, err)
		}
	}
	if err := c.conduit(&conduits[at].Spec); err != nil {
		return nil, fmt.Errorf("conduit %q: %w", conduit, err)
	}
	if a := s.Attractor(trench, conduit); a != nil {
		if err := c.attractor(s, a); err != nil {
			return nil, fmt.Errorf("attractor %q: %w", a.Metadata.Name, err)
		}
	}
	slices.SortFunc(c.config.VIPs, netip.Prefix.Compare)
	c.config.VIPs = slices.Compact(c.config.VIPs)
	return &c.config, nil
}

type compiler struct {
	vips   map[string]netip.Prefix
	config balancer.Config
}

func (c *compiler) conduit(spec *v1alpha1.ConduitSpec) error {
	c.config.MSSClamp = spec.MSSClamp
	if spec.Affinity != nil {
		c.config.Affinity = int(spec.Affinity.MaxFlows)
	}
	for i, nat := range spec.DestinationPortNats {
		for _, name := range nat.Vips {
			vip, ok := c.vips[name]
			if !ok {
				return fmt.Errorf("destination-port-nats[%d]: vip %q: %w", i, name, resource.ErrNotFound)
			}
			c.config.NATs = append(c.config.NATs, classify.NAT{
				VIP: vip, Protocol: resource.ProtocolNumber(nat.Protocol), Port: nat.Port, TargetPort: nat.TargetPort,
			})
		}
	}
	// Two Vip objects may have one address.
	slices.SortFunc(c.config.NATs, func(a, b classify.NAT) int {
		return cmp.Or(a.VIP.Compare(b.VIP), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	c.config.NATs = slices.Compact(c.config.NATs)
	return nil
}

func (c *compiler) flow(o *v1alpha1.Flow) error {
	rule := classify.Rule{Name: o.Metadata.Name, Priority: o.Spec.Priority, TargetPort: o.Spec.TargetPort}
	for _, name := range o.Spec.Vips {
		vip, ok := c.vips[name]
		if !ok {
			return fmt.Errorf("vip %q: %w", name, resource.ErrNotFound)
		}
		rule.VIPs = append(rule.VIPs, vip)
	}
	var err error
	if rule.Sources, err = parseAll(o.Spec.SourceSubnets, resource.ParsePrefix); err != nil {
		return err
	}
	if rule.SourcePorts, err = parseAll(o.Spec.SourcePorts, resource.ParsePortRange); err != nil {
		return err
	}
	if rule.DestinationPorts, err = parseAll(o.Spec.DestinationPorts, resource.ParsePortRange); err != nil {
		return err
	}
	if rule.ByteMatches, err = parseAll(o.Spec.ByteMatches, resource.ParseByteMatch); err != nil {
		return err
	}
	for _, p := range o.Spec.Protocols {
		rule.Protocols = append(rule.Protocols, resource.ProtocolNumber(p))
	}
	c.config.VIPs = append(c.config.VIPs, rule.VIPs...)
	c.config.Flows = append(c.config.Flows, balancer.Flow{Rule: rule, Stream: o.Spec.Stream})
	return nil
}

func (c *compiler) attractor(s *resource.Snapshot, a *v1alpha1.Attractor) error {
	for _, name := range a.Spec.Vips {
		vip, ok := c.vips[name]
		if !ok {
			return fmt.Errorf("vip %q: %w", name, resource.ErrNotFound)
		}
		c.config.VIPs = append(c.config.VIPs, vip)
	}
	for _, name := range a.Spec.Gateways {
		o, ok := s.Get(resource.Key{Kind: v1alpha1.KindGateway, Namespace: a.Metadata.Namespace, Name: name})
		if !ok {
			return fmt.Errorf("gateway %q: %w", name, resource.ErrNotFound)
		}
		address, err := netip.ParseAddr(o.(*v1alpha1.Gateway).Spec.Address)
		if err != nil {
			return fmt.Errorf("gateway %q: %w", name, err)
		}
		c.config.Gateways = append(c.config.Gateways, address)
	}
	return nil
}

func parseAll[T any](in []string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, s := range in {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
