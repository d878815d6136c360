// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// gap is something that an object asks for and that this release accepts
// without carrying it out.
type gap struct{ field, why string }

// unsupported returns what of an object this release does not carry out.
func unsupported(o v1alpha1.Object) []gap {
	switch o := o.(type) {
	case *v1alpha1.Gateway:
		switch {
		case o.Spec.Protocol == v1alpha1.ProtocolBGP:
			return []gap{{"spec.protocol", "this release does not speak BGP; replies go to the gateway, but it needs its own routes to the vips"}}
		case o.Spec.Static != nil && o.Spec.Static.BFD != nil && o.Spec.Static.BFD.Switch != nil && *o.Spec.Static.BFD.Switch:
			return []gap{{"spec.static.bfd", "this release does not run BFD; the gateway always counts as up"}}
		}
	case *v1alpha1.Attractor:
		if t := o.Spec.Interface.Type; t == v1alpha1.InterfaceNSMVlan || t == v1alpha1.InterfaceNetworkAttachment {
			return []gap{{"spec.interface.type", fmt.Sprintf("this release does not create interfaces of type %s; the frontends use the interface if it is there", t)}}
		}
	}
	return nil
}

// acceptedConditions are the conditions of an object that has just been
// accepted: what can be said without the data path.
func acceptedConditions(o v1alpha1.Object) []v1alpha1.Condition {
	conditions := []v1alpha1.Condition{
		{Type: v1alpha1.ConditionAccepted, Status: v1alpha1.ConditionTrue, Reason: v1alpha1.ReasonAccepted},
		resolvedRefs(o),
	}
	programmed := v1alpha1.Condition{
		Type: v1alpha1.ConditionProgrammed, Status: v1alpha1.ConditionUnknown,
		Reason: v1alpha1.ReasonPending, Message: "no load balancer has reported yet",
	}
	switch o.(type) {
	case *v1alpha1.Trench:
		return conditions // nothing in the data path stands for a trench
	}
	if gaps := unsupported(o); len(gaps) > 0 {
		var lines []string
		for _, g := range gaps {
			lines = append(lines, g.field+": "+g.why)
		}
		programmed.Status, programmed.Reason = v1alpha1.ConditionFalse, v1alpha1.ReasonUnsupported
		programmed.Message = strings.Join(lines, "; ")
	}
	return append(conditions, programmed)
}

func resolvedRefs(o v1alpha1.Object) v1alpha1.Condition {
	c := v1alpha1.Condition{Type: v1alpha1.ConditionResolvedRefs, Status: v1alpha1.ConditionTrue, Reason: v1alpha1.ReasonResolvedRefs}
	unset := ""
	switch o := o.(type) {
	case *v1alpha1.Stream:
		if o.Spec.Conduit == "" {
			unset = "spec.conduit names no conduit"
		}
	case *v1alpha1.Flow:
		switch {
		case o.Spec.Stream == "":
			unset = "spec.stream names no stream"
		case len(o.Spec.Vips) == 0:
			unset = "spec.vips names no vip"
		}
	}
	if unset != "" {
		c.Status, c.Reason, c.Message = v1alpha1.ConditionFalse, v1alpha1.ReasonNotSet, unset
	}
	return c
}

// withConditions returns a copy of the object with the conditions merged into
// its status, or the object itself if that changes nothing. The time of a
// condition moves only when its status changes.
func withConditions(o v1alpha1.Object, now time.Time, conditions ...v1alpha1.Condition) v1alpha1.Object {
	generation := o.GetMeta().Generation
	status := v1alpha1.Status{ObservedGeneration: generation, Conditions: slices.Clone(o.GetStatus().Conditions)}
	changed := o.GetStatus().ObservedGeneration != generation
	for _, c := range conditions {
		c.ObservedGeneration, c.LastTransitionTime = generation, now
		old := status.Condition(c.Type)
		if old == nil {
			status.Conditions, changed = append(status.Conditions, c), true
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if *old != c {
			*old, changed = c, true
		}
	}
	if !changed {
		return o
	}
	out := shallowCopy(o)
	*out.GetStatus() = status
	return out
}

// shallowCopy copies the object but not what its maps, slices and pointers
// refer to: nobody writes to those once an object is in a snapshot.
func shallowCopy(o v1alpha1.Object) v1alpha1.Object {
	switch o := o.(type) {
	case *v1alpha1.Trench:
		return ref(*o)
	case *v1alpha1.Conduit:
		return ref(*o)
	case *v1alpha1.Stream:
		return ref(*o)
	case *v1alpha1.Flow:
		return ref(*o)
	case *v1alpha1.Vip:
		return ref(*o)
	case *v1alpha1.Attractor:
		return ref(*o)
	case *v1alpha1.Gateway:
		return ref(*o)
	}
	panic(fmt.Sprintf("resource: kind %T is not known", o))
}

func ref[T any](v T) *T { return &v }
