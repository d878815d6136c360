// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flowNumbers are the numbers of the flows in force: those of their counters.
type flowNumbers struct {
	numbers
	ids map[string]uint32 // by name
}

// number returns the numbers for another list of flows: a flow keeps its number
// while there is one of its name. Those of flows that go are free afterwards,
// and taken at once only when there are no others. n stays as it is.
func (n flowNumbers) number(flows []Flow) (flowNumbers, error) {
	next := flowNumbers{numbers: n.numbers, ids: make(map[string]uint32, len(flows))}
	next.taken = maps.Clone(n.taken)
	for _, f := range flows {
		if id, ok := n.ids[f.Rule.Name]; ok {
			next.ids[f.Rule.Name] = id
		}
	}
	var going []int
	for name, id := range n.ids {
		if _, ok := next.ids[name]; !ok {
			going = append(going, int(id))
		}
	}
	slices.Sort(going)
	for _, f := range flows {
		if _, ok := next.ids[f.Rule.Name]; ok {
			continue
		}
		id, ok := next.take()
		if !ok && len(going) > 0 {
			next.free(going[0])
			going = going[1:]
			id, ok = next.take()
		}
		if !ok {
			return n, fmt.Errorf("flow %q: %w", f.Rule.Name, ErrTooManyFlows)
		}
		next.ids[f.Rule.Name] = uint32(id)
	}
	for _, id := range going {
		next.free(id)
	}
	return next, nil
}

// states returns the state of the flows, sorted by name.
func (n flowNumbers) states(flows []Flow) []FlowState {
	states := make([]FlowState, 0, len(flows))
	for _, f := range flows {
		states = append(states, FlowState{Name: f.Rule.Name, ID: n.ids[f.Rule.Name], Stream: f.Stream})
	}
	slices.SortFunc(states, func(a, b FlowState) int { return strings.Compare(a.Name, b.Name) })
	return states
}
