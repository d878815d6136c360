// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"slices"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// ReportProgrammed records that the load balancers of a conduit carry out the
// conduit's part of a snapshot, or, with an error, that they do not. Objects
// that changed since the snapshot keep their conditions.
func (s *Store) ReportProgrammed(of *Snapshot, trench, conduit string, err error) {
	c := v1alpha1.Condition{Type: v1alpha1.ConditionProgrammed, Status: v1alpha1.ConditionTrue, Reason: v1alpha1.ReasonProgrammed}
	if err != nil {
		c.Status, c.Reason, c.Message = v1alpha1.ConditionFalse, v1alpha1.ReasonPending, err.Error()
	}
	observations := map[Key]observation{}
	for _, o := range conduitPart(of, trench, conduit) {
		observations[KeyOf(o)] = observation{o.GetMeta().Generation, []v1alpha1.Condition{c}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(observations)
}

// conduitPart returns the objects that a conduit's load balancers carry out.
func conduitPart(s *Snapshot, trench, conduit string) []v1alpha1.Object {
	var part []v1alpha1.Object
	add := func(o v1alpha1.Object) { part = append(part, o) }
	vips, gateways := map[string]bool{}, map[string]bool{}
	mark := func(set map[string]bool, names []string) {
		for _, n := range names {
			set[n] = true
		}
	}
	for _, c := range OfTrench[*v1alpha1.Conduit](s, trench) {
		if c.Metadata.Name == conduit {
			add(c)
		}
	}
	streams := map[string]bool{}
	for _, o := range OfTrench[*v1alpha1.Stream](s, trench) {
		if o.Spec.Conduit == conduit {
			streams[o.Metadata.Name] = true
			add(o)
		}
	}
	for _, o := range OfTrench[*v1alpha1.Flow](s, trench) {
		if streams[o.Spec.Stream] && len(o.Spec.Vips) > 0 {
			mark(vips, o.Spec.Vips)
			add(o)
		}
	}
	for _, o := range OfTrench[*v1alpha1.Attractor](s, trench) {
		if slices.Contains(o.Spec.Composites, conduit) {
			mark(vips, o.Spec.Vips)
			mark(gateways, o.Spec.Gateways)
			add(o)
		}
	}
	for _, o := range OfTrench[*v1alpha1.Vip](s, trench) {
		if vips[o.Metadata.Name] {
			add(o)
		}
	}
	for _, o := range OfTrench[*v1alpha1.Gateway](s, trench) {
		if gateways[o.Metadata.Name] {
			add(o)
		}
	}
	return part
}
