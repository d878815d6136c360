// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"fmt"
	"slices"
	"time"

	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

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
