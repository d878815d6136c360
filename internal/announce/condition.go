// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-project/weft/internal/frontend"
	"github.com/weft-project/weft/internal/resource"
	"github.com/weft-project/weft/pkg/apis/v1alpha1"
)

// Conditions returns what the frontends of a conduit's replicas on this host say
// about the conduit's attractor, its gateways and its VIPs.
func Conditions(s *resource.Snapshot, trench, conduit string, states []State) map[resource.Key][]v1alpha1.Condition {
	a := s.Attractor(trench, conduit)
	if a == nil {
		return nil
	}
	out := map[resource.Key][]v1alpha1.Condition{}
	key := func(kind, name string) resource.Key {
		return resource.Key{Kind: kind, Namespace: a.Metadata.Namespace, Name: name}
	}
	out[resource.KeyOf(a)] = []v1alpha1.Condition{join(v1alpha1.ConditionReady, states, func(st *State) verdict { return attractorReady(st) })}
	for _, name := range a.Spec.Gateways {
		out[key(v1alpha1.KindGateway, name)] = gatewayConditions(name, states)
	}
	for _, name := range a.Spec.Vips {
		o, ok := s.Get(key(v1alpha1.KindVip, name))
		if !ok {
			continue
		}
		if p, err := resource.ParsePrefix(o.(*v1alpha1.Vip).Spec.Address); err == nil {
			out[key(v1alpha1.KindVip, name)] = []v1alpha1.Condition{
				join(v1alpha1.ConditionAnnounced, states, func(st *State) verdict { return vipAnnounced(st, p) }),
			}
		}
	}
	return out
}

// verdict is what one replica says.
type verdict struct {
	applies, good   bool
	reason, message string
}

// join makes one condition of what the replicas say: True if all of them do that
// have something to say. The reason is that of the first that does not.
func join(conditionType string, states []State, judge func(*State) verdict) v1alpha1.Condition {
	c := v1alpha1.Condition{Type: conditionType, Status: v1alpha1.ConditionUnknown, Reason: v1alpha1.ReasonNoReplica, Message: "no replica has reported yet"}
	var lines []string
	for i := range states {
		v := judge(&states[i])
		if !v.applies {
			continue
		}
		if c.Status == v1alpha1.ConditionUnknown {
			c.Status, c.Reason = v1alpha1.ConditionTrue, v.reason
		}
		if !v.good && c.Status == v1alpha1.ConditionTrue {
			c.Status, c.Reason = v1alpha1.ConditionFalse, v.reason
		}
		if v.message != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", states[i].Replica, v.message))
		}
	}
	if c.Status != v1alpha1.ConditionUnknown {
		c.Message = strings.Join(lines, "; ")
	}
	return c
}

func attractorReady(st *State) verdict {
	problem := st.Problem
	if problem == "" {
		problem = st.Status.Problem
	}
	if problem != "" {
		return verdict{true, false, v1alpha1.ReasonDown, problem}
	}
	var down []string
	for _, g := range st.Status.Gateways {
		if !g.Up {
			down = append(down, g.Name)
		}
	}
	for name := range st.Withheld {
		down = append(down, name)
	}
	if len(down) > 0 {
		slices.Sort(down)
		return verdict{true, false, v1alpha1.ReasonDown, "gateways are not up: " + strings.Join(down, ", ")}
	}
	return verdict{true, true, v1alpha1.ReasonReady, ""}
}

func vipAnnounced(st *State, vip netip.Prefix) verdict {
	if st.Problem != "" {
		return verdict{true, false, v1alpha1.ReasonDown, st.Problem}
	}
	for _, d := range st.VIPs {
		if d.VIP == vip {
			return verdict{true, d.Announced, string(d.Reason), d.Message}
		}
	}
	return verdict{}
}

func gatewayConditions(name string, states []State) []v1alpha1.Condition {
	conditions := []v1alpha1.Condition{join(v1alpha1.ConditionReady, states, func(st *State) verdict {
		if why := st.Withheld[name]; why != "" {
			return verdict{true, false, v1alpha1.ReasonSecret, why}
		}
		g := gatewayOf(st, name)
		switch {
		case g == nil && st.Static:
			return verdict{true, true, v1alpha1.ReasonReady, ""}
		case g == nil:
			return verdict{}
		case g.Up:
			return verdict{true, true, v1alpha1.ReasonUp, ""}
		}
		return verdict{true, false, v1alpha1.ReasonDown, g.Reason}
	})}
	for _, more := range []v1alpha1.Condition{
		join(v1alpha1.ConditionBGPEstablished, states, func(st *State) verdict {
			g := gatewayOf(st, name)
			if g == nil || g.BGP == nil {
				return verdict{}
			}
			return session(g.BGP.State, "established", g.BGP.LastError)
		}),
		join(v1alpha1.ConditionBFDUp, states, func(st *State) verdict {
			g := gatewayOf(st, name)
			if g == nil || g.BFD == nil {
				return verdict{}
			}
			why := g.BFD.LastError
			if why == "" {
				why = g.BFD.Diagnostic
			}
			return session(g.BFD.State, "up", why)
		}),
	} {
		if more.Status != v1alpha1.ConditionUnknown { // else there is no such session
			conditions = append(conditions, more)
		}
	}
	return conditions
}

func session(state, up, why string) verdict {
	if state == up {
		return verdict{true, true, v1alpha1.ReasonUp, ""}
	}
	message := "the session is " + state
	if why != "" {
		message += ": " + why
	}
	return verdict{true, false, v1alpha1.ReasonDown, message}
}

func gatewayOf(st *State, name string) *frontend.GatewayStatus {
	for i := range st.Status.Gateways {
		if st.Status.Gateways[i].Name == name {
			return &st.Status.Gateways[i]
		}
	}
	return nil
}
